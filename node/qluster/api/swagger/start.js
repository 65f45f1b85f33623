// SPDX-License-Identifier: GPL-3.0-or-later
// Shows this node's description. Nothing is asked of any other host:
// no validator, and no token is kept after the page is closed.
"use strict";

window.addEventListener("load", () => {
  window.SwaggerUIBundle({
    url: "/openapi.json",
    dom_id: "#interface",
    validatorUrl: null,
    persistAuthorization: false,
    deepLinking: true,
    docExpansion: "list",
    defaultModelsExpandDepth: 0,
    displayRequestDuration: true,
  });
});
