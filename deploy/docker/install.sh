#!/bin/sh
# /source/requirements -> /opt/swinserve, a virtual environment with everything but ourselves, and /opt/uv beside it.
# TORCH_INDEX, if set: an index whose builds of torch and torchvision replace the ordinary ones, in the locked versions.
set -eu
cd /source

if [ -s /run/secrets/certificates ]; then
  export SSL_CERT_FILE=/run/secrets/certificates PIP_CERT=/run/secrets/certificates
fi

python3.11 -m venv /opt/uv
/opt/uv/bin/python -m pip install --quiet --no-cache-dir --disable-pip-version-check --require-hashes \
  --requirement requirements/uv.txt
uv=/opt/uv/bin/uv
$uv venv --python python3.11 /opt/swinserve
install="$uv pip install --python /opt/swinserve/bin/python"

if [ -z "${TORCH_INDEX:-}" ]; then
  $install --require-hashes --requirement requirements/serve.txt
  exit
fi
# That index has other files, so other hashes, and brings the CUDA libraries that fit them: none for CPUs.
python3.11 deploy/docker/split_lock.py requirements/serve.txt /tmp/others.txt /tmp/torch.txt
$install --no-deps --require-hashes --requirement /tmp/others.txt
$install --index "$TORCH_INDEX" --requirement /tmp/torch.txt
