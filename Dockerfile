# Colors a folder of photographs and films, on the CPU, with no network:
#   docker build -t nogan .
#   docker run --rm --network none -v "$PWD/album:/in:ro" -v "$PWD/colored:/out" nogan
# What follows the image's name are further arguments of `nogan colorize`: nogan --compare
FROM python:3.12-slim

# PyTorch's CPU build is a tenth of the size: --build-arg TORCH="…", with what https://pytorch.org/get-started/locally/
# says behind `pip install` for CPU.
ARG TORCH="torch torchvision"
RUN pip install --no-cache-dir ${TORCH}

COPY . /nogan
RUN pip install --no-cache-dir /nogan && rm -rf /nogan

ENTRYPOINT ["nogan", "colorize", "/in", "-o", "/out"]
