# A release from the package index, or a candidate, on a base with CUDA, cuDNN and nvcc.
#
# TORCH        requirement of the PyTorch that the extension is compiled against
# REQUIREMENT  what to install: `transformer_engine[pytorch,...]==X`, or a place below /candidate
# PIP_*        pip's own settings, where the environment of the harness has them
# In the context: certificates/ca.pem, where the package index needs one of its own.
ARG BASE
FROM ${BASE}
LABEL te-matrix.kind="pip"
ARG TORCH
ARG REQUIREMENT
ARG PIP_INDEX_URL
ARG PIP_EXTRA_INDEX_URL
ENV PATH="/opt/te-matrix/bin:${PATH}"
RUN apt-get update \
    && DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends \
        cmake g++ git ninja-build python3-dev python3-venv \
    && rm -rf /var/lib/apt/lists/* \
    && python3 -m venv /opt/te-matrix
COPY certificates /tmp/certificates
COPY candidate /candidate
RUN if [ -f /tmp/certificates/ca.pem ]; then export PIP_CERT=/tmp/certificates/ca.pem; fi \
    && pip install --no-cache-dir "${TORCH}" numpy packaging pybind11 setuptools wheel \
    && NVTE_FRAMEWORK=pytorch pip install --no-cache-dir --no-build-isolation "${REQUIREMENT}" \
    && rm -r /tmp/certificates
