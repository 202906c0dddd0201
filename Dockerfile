# The service. The wheels of PyTorch bring CUDA along, so the image needs only Python; the GPU's
# driver comes from the host through the NVIDIA Container Toolkit.
FROM python:3.12-slim

# For a machine without a GPU: --build-arg TORCH_ARGS="--index-url <PyTorch's index of CPU builds>".
ARG TORCH_ARGS=""

RUN useradd --system --uid 10001 --create-home moondream \
    && install -d -o moondream -g moondream -m 700 /data /models
WORKDIR /opt/moondream2mqtt

# PyTorch alone and first: several GB that stay in their layer when the code changes.
COPY constraints.txt ./
RUN pip install --no-cache-dir -c constraints.txt ${TORCH_ARGS} torch==2.13.0

COPY pyproject.toml README.md LICENSE ./
COPY broker ./broker
COPY demo ./demo
COPY engine ./engine
COPY moondream2 ./moondream2
COPY schemas ./schemas
COPY service ./service
RUN pip install --no-cache-dir -c constraints.txt '.[postgres]'

USER moondream
ENV MOONDREAM2MQTT__DATA_DIR=/data \
    HF_HOME=/models \
    PYTHONUNBUFFERED=1
VOLUME ["/data", "/models"]

# Online means connected to the broker; a model that is still loading or downloading is online too.
HEALTHCHECK --interval=30s --timeout=20s --start-period=60s --retries=3 \
    CMD ["moondream2mqtt", "doctor", "--running"]

ENTRYPOINT ["moondream2mqtt"]
CMD ["serve"]
