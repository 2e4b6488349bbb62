"""Programs that check the project, run by sessions of noxfile.py.

audit       known vulnerabilities of the locked packages (`nox -s lint`)
quantized   the saves of a store, their quantized weights written in the form of every release
powercuts   runs killed at random moments (`nox -s powercuts`)
"""
