"""The task runner: a process of its own on each host that runs tasks.

It knows nothing of the cluster but what ``tasks/runner.py`` says.

| file | what |
|---|---|
| ``server.py`` | the runner itself: takes orders of one daemon at a time, tells it what happens |
| ``run.py`` | one run from its order to its end |
| ``prepare.py`` | what a task says → a plan: words, environment, limits |
| ``forker.py`` | a small process that forks an attendant for each run |
| ``attendant.py`` | a process for each run: begins the program, kills it when its time or its lease is over |
| ``rights.py`` | the right to become the users of tasks, and to give it up |
| ``helper.py`` | what must be done as one of them: empty his directories, find what he left running |
| ``works.py`` | where programs work |
| ``alarm.py`` | wakes an attendant at its lease's end, also after the host slept |
| ``libc.py`` | the kernel, where Python has no word for what is asked of it |
| ``kin.py`` | finds and kills all that a program has begun |
| ``groups.py`` | control groups, where the runner was given one of its own |
| ``capture.py`` | what a program says |
| ``record.py`` | what the disk knows of a run |
| ``flushing.py`` | makes what a crowd of runs wrote durable in one go |
| ``output.py`` | reads what was said, for who asks |

Whatever is late or hangs in the runner, the attendants are not: they touch no disk. They end what they attend when
the runner is gone.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
