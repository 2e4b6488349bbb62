# The cpu lane's Python packages on a Python base: what every `cpu` image builds on.
# The wheels come with the context, so that the build needs no network and no setting,
# certificate or credential of the machine that gathered them.
ARG BASE
FROM ${BASE}
LABEL te-matrix.kind="cpu-packages"
COPY wheels /tmp/wheels
RUN python3 -m venv /opt/te-matrix \
    && /opt/te-matrix/bin/pip install --no-cache-dir --no-index --find-links /tmp/wheels \
        --requirement /tmp/wheels/requirements.txt \
    && rm -r /tmp/wheels
