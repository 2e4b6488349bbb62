# An image that carries Transformer Engine as shipped; nothing in it is touched.
ARG BASE
FROM ${BASE}
LABEL te-matrix.kind="ngc"
