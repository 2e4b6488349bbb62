# The cpu lane in a container: a release's Python code beside CPU PyTorch, nothing compiled.
# Its base is an image of cpu-packages.Dockerfile.
ARG BASE
FROM ${BASE}
LABEL te-matrix.kind="cpu"
ENV PATH="/opt/te-matrix/bin:${PATH}"
COPY transformer_engine /te/transformer_engine
