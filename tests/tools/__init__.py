"""Programs that check the project, run by sessions of noxfile.py.

audit       known vulnerabilities of the locked packages (`nox -s lint`)
powercuts   runs killed at random moments (`nox -s powercuts`)
"""
