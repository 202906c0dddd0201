# The service. The wheels of PyTorch bring CUDA along, so the image needs only Python; the GPU's
# driver comes from the host through the NVIDIA Container Toolkit.
FROM python:3.12-slim

# cpu: PyTorch's build for processors, without CUDA; cuda: the one that pip finds, for NVIDIA drivers
# from 580.65 on; another word goes to uv as its --torch-backend, e.g. cu126 for older drivers.
ARG TORCH=cuda

RUN useradd --system --uid 10001 --create-home moondream \
    && install -d -o moondream -g moondream -m 700 /data /models
WORKDIR /opt/moondream2mqtt

# PyTorch alone and first: several GB that stay in their layer when the code changes. uv knows the
# index of its other builds. On a GPU the compiler is for model.compile.
COPY constraints.txt ./
RUN if [ "$TORCH" != cpu ]; then \
        apt-get update && apt-get install -y --no-install-recommends g++ \
        && rm -rf /var/lib/apt/lists/*; \
    fi \
    && if [ "$TORCH" = cuda ]; then \
        pip install --no-cache-dir -c constraints.txt torch==2.13.0; \
    else \
        pip install --no-cache-dir -c constraints.txt uv \
        && uv pip install --system --no-cache --torch-backend="$TORCH" -c constraints.txt torch==2.13.0 \
        && pip uninstall -y uv; \
    fi

COPY pyproject.toml README.md LICENSE ./
COPY broker ./broker
COPY demo ./demo
COPY engine ./engine
COPY gateway ./gateway
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
