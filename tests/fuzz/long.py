# SPDX-License-Identifier: LGPL-2.1-or-later
"""Each fuzzer for SECONDS, as many at a time as there are processors. What they learn stays in the build
folder, where the next time begins; a line for each says how far it came."""

import argparse
import concurrent.futures
import os
import re
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
BUILD = HERE.parent.parent / 'build-fuzz'
NAMES = sorted(source.stem.removeprefix('fuzz-') for source in HERE.glob('fuzz-*.c'))


def last(pattern, text):
    found = re.findall(pattern, text)
    return found[-1] if found else '?'


def run(name, seconds):
    """True: nothing was found."""
    folder = BUILD / 'fuzz'
    log = folder / f'{name}.log'
    with open(log, 'wb') as out:
        status = subprocess.run(['sh', HERE / 'fuzz.sh', BUILD / f'tests/fuzz/fuzz-{name}', str(seconds),
                                 folder / 'corpus' / name], cwd=folder, stdout=out, stderr=out, check=False).returncode
    text = log.read_text(errors='replace')
    print(f'{name}: {last(r"number_of_executed_units: *(.*)", text)} inputs in {seconds} s, '
          f'{last(r"cov: (.*?) ", text)} edges reached, '
          f'{last(r"corp: (.*?)/", text)} inputs in the corpus, {f"FAILED: see {log}" if status else "fine"}', flush=True)
    return status == 0


def main():
    parser = argparse.ArgumentParser(prog='./run bench fuzz', description=__doc__)
    parser.add_argument('seconds', type=int)
    parser.add_argument('names', nargs='*', metavar='NAME', help=', '.join(NAMES))
    options = parser.parse_args()
    if unknown := set(options.names) - set(NAMES):
        parser.error(f'no fuzzer {", ".join(unknown)}')
    (BUILD / 'fuzz/corpus').mkdir(parents=True, exist_ok=True)
    with concurrent.futures.ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        return 0 if all(list(pool.map(lambda name: run(name, options.seconds), options.names or NAMES))) else 1


sys.exit(main())
