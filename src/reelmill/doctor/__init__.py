"""Is this installation in order? `reelmill doctor` and `/readyz` ask by the same checks.

    findings.py      a check, what it finds, and how many are made side by side
    packages.py      the Python packages; asked first, for all else imports them
    machine.py       ffmpeg, fonts, folders, secrets, disks, the port
    database.py      does it answer, its schema, one job row made, moved, read and removed
    broker.py        does it answer
    storage.py       from inside: put, look, read a part, delete
    browser.py       from outside: signed URLs as a web page uses them
    installation.py  settings to the list of all checks

To add a check: a plain function that returns a `Finding` or raises a ReelmillError, and a line in `installation.py`.
"""
