# Colors a folder of photographs and films, on the CPU, with no network:
#   docker build -t nogan .
#   docker run --rm --network none -v "$PWD/album:/in:ro" -v "$PWD/colored:/out" nogan
# What follows the image's name are further arguments of `nogan colorize`: nogan --compare
FROM python:3.12-slim

RUN pip install --no-cache-dir torch torchvision --index-url https://download.pytorch.org/whl/cpu

COPY . /nogan
RUN pip install --no-cache-dir /nogan && rm -rf /nogan

ENTRYPOINT ["nogan", "colorize", "/in", "-o", "/out"]
