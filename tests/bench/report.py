#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Turns the benchmarks' CSV files into pictures and one page.

    report.write(out)   reads out/*.csv; writes out/figures/*.svg, *.png and out/results.html
    report.table(out)   the comparison with the peers as Markdown
    python3 report.py OUT

A missing CSV file means only that its part is left out."""

import csv
import html
import math
import os
import pathlib
import re
import statistics
import subprocess
import sys
import textwrap
from collections import defaultdict, namedtuple

# One look per system, the same in every picture: label, colour, gnuplot point type.
# Depths run from light to dark blue; the others are Okabe-Ito colours, safe for colour-blind eyes.
SYSTEMS = {
    "none": ("iSCSI, no encryption", "#000000", 1),
    "auto": ("OP-auto", "#d55e00", 13),
    "op10": ("OP-10", "#08306b", 5),
    "op8": ("OP-8", "#1c5fa8", 7),
    "op6": ("OP-6", "#3a8ac9", 9),
    "op4": ("OP-4", "#65b0dd", 11),
    "op2": ("OP-2", "#92cbe6", 15),
    "sync": ("no optimisation", "#7f7f7f", 2),
    "wireguard": ("WireGuard", "#009e73", 4),
    "ipsec": ("IPsec", "#aa3377", 6),
    "stunnel": ("stunnel", "#c08a00", 8),
}
PEERS = {
    "encsanfs": ("encsanfs", "#d55e00"),
    "sshfs": ("sshfs", "#0072b2"),
    "nbdkit": ("nbdkit", "#8a6d4b"),
    "iscsi-wireguard": ("iSCSI + WireGuard", "#009e73"),
    "iscsi-ipsec": ("iSCSI + IPsec", "#aa3377"),
    "iscsi": ("iSCSI, unencrypted", "#333333"),
    "iperf3-1": ("iperf3, 1 stream", "#b5b5b5"),
    "iperf3-8": ("iperf3, 8 streams", "#b5b5b5"),
    "nullfuse": ("nullfuse", "#b5b5b5"),
}
SHOWN = [p for p in PEERS if p not in ("iperf3-8", "nullfuse")]
ENCRYPTED = ("sshfs", "nbdkit", "iscsi-wireguard", "iscsi-ipsec")
# Step: unit, title, and what bounds it from above (the tightest one counts).
STEPS = {
    "write": ("MB/s", "write", ("iperf3-8", "nullfuse")),
    "read": ("MB/s", "read", ("iperf3-8", "nullfuse")),
    "untar": ("s", "untar", ("nullfuse",)),
    "tree-read": ("s", "read a tree", ()),
    "fsync": ("ms", "fsync", ()),
    "ls": ("s", "ls", ("nullfuse",)),
}
DELAY_COLOURS = ("#440154", "#21918c", "#c9971c")       # no system's colour
SUITES = {"aes-256-gcm": "AES-256-GCM", "3des": "3DES"}
SHARED = ("none", "ipsec", "wireguard", "stunnel")      # measured once, under AES-256-GCM
DEPTHS = {"sync": 1, "op2": 2, "op4": 4, "op6": 6, "op8": 8, "op10": 10}
BLOCK = 128 << 10
PAPER_RATIO = 6.6

GRID = 'set grid x y lt 1 lw 0.8 dt 1 lc rgb "#d4d4d4"'

Run = namedtuple("Run", "mb_per_s near far cpu_per_gb")
Line = namedtuple("Line", "label colour point points style")    # points: (x, y, lowest, highest)
Figure = namedtuple("Figure", "name title text head rows")      # head, rows: its numbers
Bar = namedtuple("Bar", "value low high cut high_cut")          # cut: took longer than value


# ---- reading ---------------------------------------------------------------------------------

def read(path, convert):
    """convert(row) of every row of a CSV file; a row that cannot be read is named, not fatal."""
    if not path.exists():
        return []
    good = []
    with path.open(newline="", encoding="utf-8") as file:
        for number, row in enumerate(csv.DictReader(file), 2):
            try:
                good.append(convert(row))
            except (ValueError, TypeError, KeyError, ZeroDivisionError) as error:
                print(f"{path.name}:{number}: left out ({error!r})", file=sys.stderr)
    return good


def paper_row(row):
    size, seconds = float(row["bytes"]), float(row["seconds"])
    # Processor times may be missing (a far end that cannot be asked); the throughput still counts.
    near, far = (float(row[k]) if row[k] else math.nan for k in ("near_cpu_s", "far_cpu_s"))
    run = Run(size / 1e6 / seconds, 100 * near / seconds, 100 * far / seconds,
              (near + far) / (size / 1e9))
    return (row["suite"], row["system"], int(row["block_bytes"]), float(row["delay_ms"])), run


def read_machine(out):
    """When, where and of which commit each benchmark ran: its line of machine.txt."""
    file = out / "machine.txt"
    lines = file.read_text(encoding="utf-8").splitlines() if file.exists() else []
    return dict(line.split(": ", 1) for line in lines if ": " in line)


def read_paper(out):
    runs = defaultdict(list)
    for key, run in read(out / "paper.csv", paper_row):
        runs[key].append(run)
    return runs


def read_model(out):
    rows = read(out / "model.csv", lambda r: (
        (r["suite"], int(r["block_bytes"]), float(r["delay_ms"]), int(r["depth"])),
        (float(r["mb_per_s"]), float(r["n_star"] or "nan"))))
    return dict(rows)


def read_peers(out):
    """{setting: {step: {peer: Bar}}}, in the order of the file."""
    found = {}
    rows = read(out / "peers.csv", lambda r: (r["setting"], r["step"], r["peer"], peer_value(r)))
    for setting, step, peer, value in rows:
        if step in STEPS and peer in PEERS:
            steps = found.setdefault(setting, {})
            steps.setdefault(step, {}).setdefault(peer, []).append(value)
        else:
            print(f"peers.csv: unknown step or peer left out: {step}, {peer}", file=sys.stderr)
    return {setting: {step: {peer: bar(values) for peer, values in peers.items()}
                      for step, peers in steps.items()} for setting, steps in found.items()}


def peer_value(row):
    """(value, cut off). A cut-off is always in seconds: of a rate only "none" is left."""
    if not row["value"].startswith(">"):
        return float(row["value"]), False
    seconds = float(row["value"][1:])
    return {"MB/s": 0.0, "ms": seconds * 1000, "s": seconds}[STEPS[row["step"]][0]], True


def bar(values):
    values = sorted(values)
    middle = values[(len(values) - 1) // 2:len(values) // 2 + 1]
    return Bar(statistics.median(v for v, _ in values), values[0][0], values[-1][0],
               any(cut for _, cut in middle), values[-1][1])


# ---- gnuplot ---------------------------------------------------------------------------------

def quote(text):
    # A backquote would run a command in gnuplot, inside quotes too.
    text = text.replace("`", "'").replace("\\", "\\\\").replace('"', '\\"')
    return '"' + text.replace("\n", "\\n") + '"'


def render(folder, name, data, body, width=900, height=560):
    """Draws body twice, as SVG and as PNG; the data blocks are shared."""
    script = ["set encoding utf8", data]
    # The terminals disagree on how large a point is.
    for kind, size, font in (("svg", 0.72, "DejaVu Sans,Arial,sans-serif,14"),
                             ("pngcairo", 1.1, "DejaVu Sans,11")):
        options = f'font "{font}" background "white"'
        script += ["reset", f"PS = {size}",
                   f"set terminal {kind} noenhanced size {width},{height} {options}",
                   f"set output {quote(str(folder / name) + '.' + kind[:3])}", body, "unset output"]
    try:
        done = subprocess.run(["gnuplot"], input="\n".join(script) + "\n", encoding="utf-8",
                              capture_output=True, env={**os.environ, "LC_ALL": "C.UTF-8"})
    except FileNotFoundError:
        raise RuntimeError("gnuplot is missing: apt-get install gnuplot-nox") from None
    if done.returncode or "line 0:" in done.stderr:
        raise RuntimeError(f"gnuplot failed on {name}: {done.stderr.strip()[-500:]}")


def block(name, rows):
    lines = [" ".join(v if isinstance(v, str) else f"{v:.6g}" for v in row) for row in rows]
    return "\n".join([f"${name} << EOD", *lines, "EOD"])


def frame(title, xlabel, ylabel, foot):
    foot = "\n".join(textwrap.wrap(foot, 150)[:2])
    return "\n".join([
        f"set title {quote(title)}", f"set xlabel {quote(xlabel)}", f"set ylabel {quote(ylabel)}",
        GRID, "set border 3", "set tics nomirror out scale 0.5",
        "set key outside right top Left reverse samplen 2 spacing 1.25 noautotitle",
        f'set label 1000 {quote(foot)} at screen 0.012,0.022 font ",9" tc rgb "#777777"',
        "set bmargin 5" if foot else ""])


def log_scale(values):
    """gnuplot's lines for a log y axis with 1-2-5 steps around the values."""
    low, high = min(values) / 1.05, max(values) * 1.05
    steps = [m * 10.0 ** e for e in range(-6, 8) for m in (1, 2, 5)]
    low, high = max(s for s in steps if s <= low), min(s for s in steps if s >= high)
    tics = [s for s in steps if low <= s <= high]
    return "set logscale y\nset yrange [%g:%g]\nset ytics (%s)" % (
        low, high, ", ".join('"%g" %g' % (t, t) for t in tics))


def draw(folder, name, lines, title, axes, xtics, foot, log=None, extra=()):
    """One picture of lines; xtics are (text, position)."""
    values = [v for line in lines for p in line.points for v in p[1:]]
    if log is None:     # a linear axis hides the small ones when values span decades
        log = min(values) > 0 and max(values) / min(values) > 20
    log = log and min(values) > 0
    body = [frame(title, *axes, foot), *extra,
            log_scale(values) if log else "set yrange [0:*]",
            "set xtics (%s)" % ", ".join(f"{quote(text)} {x:g}" for text, x in xtics)]
    if "set logscale x" not in body:
        body.append(f"set xrange [{xtics[0][1] - 0.25:g}:{xtics[-1][1] + 0.25:g}]")
    data, plots = [], []
    for i, line in enumerate(lines):
        data.append(block(f"d{i}", line.points))
        spread = [p for p in line.points if p[3] > p[2]]
        if spread:
            data.append(block(f"e{i}", spread))
            # Not yerrorbars: the svg terminal paints white discs under their points.
            plots.append(f"$e{i} using 1:3:(0):($4-$3) with vectors heads size screen 0.006,90"
                         f" lw 1.2 lc rgb '{line.colour}'")
        key = f"title {quote(line.label)}" if line.label else "notitle"
        plots.append(f"$d{i} using 1:2 with {line.style} lc rgb '{line.colour}' "
                     + (f"pt {line.point} ps PS " if "points" in line.style else "") + key)
    body.append("plot " + ", \\\n  ".join(plots))
    render(folder, name, "\n".join(data), "\n".join(body))


# ---- the paper's figures -----------------------------------------------------------------------

def block_name(size):
    return f"{size >> 20}M" if size >= 1 << 20 else f"{size >> 10}K"


class Paper:
    """The figures of one cipher suite."""

    def __init__(self, folder, foot, runs, model, suite):
        self.folder, self.foot, self.all, self.model, self.suite = folder, foot, runs, model, suite
        self.title = SUITES.get(suite, suite)
        self.suffix = "" if suite == "aes-256-gcm" else "-" + re.sub(r"\W+", "-", suite)
        self.figures = []
        own = [k for k in runs if k[0] == suite]
        self.systems = [s for s in SYSTEMS if any(k[1] == s for k in own)
                        or (s in SHARED and any(k[1] == s for k in runs))]
        self.blocks = sorted({k[2] for k in own})
        self.delays = sorted({k[3] for k in own if k[2] == BLOCK})

    def runs(self, system, size, delay):
        key = (system, size, delay)
        return self.all.get((self.suite, *key)) or (
            self.all.get(("aes-256-gcm", *key), []) if system in SHARED else [])

    def spread(self, x, system, size, delay, metric, unit=1.0):
        """[(x, median, lowest, highest)] of a metric over the rounds; [] without a value."""
        values = [getattr(r, metric) / unit for r in self.runs(system, size, delay)]
        values = [v for v in values if not math.isnan(v)]
        return [(x, statistics.median(values), min(values), max(values))] if values else []

    def line(self, system, points, style="linespoints lw 2"):
        label, colour, point = SYSTEMS[system]
        return Line(label, colour, point, points, style)

    def finish(self, name, lines, title, text, axes, xtics, extra=(), log=None, marks=()):
        lines = [line for line in lines if line.points]
        if not lines:
            return
        name, title = name + self.suffix, f"{title} ({self.title})"
        draw(self.folder, name, lines + list(marks), title, axes, xtics, self.foot, log, extra)
        rows = []
        for line in lines:
            at = {p[0]: number(p[1]) for p in line.points}
            rows.append([line.label] + [at.get(x, "") for _, x in xtics])
        if self.suffix:
            text += (" The unencrypted run and the tunnels (IPsec, WireGuard, stunnel) are the same"
                     " runs as in the AES-256-GCM pictures, with their own ciphers.")
        self.figures.append(Figure(name, f"Figure {int(name[3:5])}. {title}", text,
                                   [axes[0]] + [t for t, _ in xtics], rows))

    def by_block(self, name, delay):
        xtics = [(block_name(b), math.log2(b)) for b in self.blocks]
        lines = [self.line(s, [p for b in self.blocks
                               for p in self.spread(math.log2(b), s, b, delay, "mb_per_s")])
                 for s in self.systems]
        self.finish(name, lines, f"Write throughput by block size, {delay} ms one-way delay",
                    f"Sequential writes with {delay} ms one-way delay, median of the rounds in MB/s"
                    " (10⁶ bytes); bars show lowest to highest. OP-n keeps n blocks sealed ahead"
                    " or in flight (8 MiB at most), OP-auto chooses the depth itself, “no optimisation” encrypts without"
                    " running ahead. More is better.",
                    ("block size (bytes)", "throughput (MB/s)"), xtics)

    def delay_tics(self):
        return [(f"{d:g}", i) for i, d in enumerate(self.delays)]

    def by_delay(self, name, metric, title, text, ylabel):
        lines = [self.line(s, [p for i, d in enumerate(self.delays)
                               for p in self.spread(i, s, BLOCK, d, metric)]) for s in self.systems]
        self.finish(name, lines, title, text, ("one-way delay (ms)", ylabel), self.delay_tics())

    def ratio(self):
        lines, best = [], (0, "", 0)
        for system in self.systems:
            points = []
            for i, d in enumerate(self.delays):
                base = [r.mb_per_s for r in self.runs("ipsec", BLOCK, d)]
                if base and system != "ipsec":
                    points += self.spread(i, system, BLOCK, d, "mb_per_s", statistics.median(base))
                    if points and points[-1][0] == i and system in (*DEPTHS, "auto"):
                        best = max(best, (points[-1][1], SYSTEMS[system][0], d))
            lines.append(self.line(system, points))
        marks = [Line(label, colour, 0, [(-0.25, y, y, y), (len(self.delays) - 0.75, y, y, y)],
                      "lines lw 1.5 " + dash)
                 for label, y, colour, dash in (
                     ("IPsec = 1", 1, SYSTEMS["ipsec"][1], ""),
                     (f"the paper: {PAPER_RATIO}", PAPER_RATIO, "#555555", "dt 2"))]
        largest = f" Largest here: {best[0]:.2f} ({best[1]} at {best[2]:g} ms)." if best[1] else ""
        self.finish("fig11", lines, "Throughput relative to IPsec, 128 KiB blocks",
                    "Throughput divided by the median throughput of IPsec at the same delay;"
                    " above 1 is faster than IPsec. The dashed line is the largest ratio the paper"
                    f" reports, {PAPER_RATIO}.{largest}",
                    ("one-way delay (ms)", "throughput / IPsec"), self.delay_tics(),
                    marks=marks)

    def processor(self):
        for name, end, metric in (("fig12", "near end (initiator)", "near"),
                                  ("fig13", "far end (target)", "far")):
            self.by_delay(name, metric, f"Processor use of the {end}, 128 KiB blocks",
                          f"Processor time of the {end}, in % of one processor, while the writes"
                          " run. A faster system does more work in the same time: figure 14"
                          " shows the cost of the work itself."
                          if metric == "near" else
                          f"As before, for the {end}: % of one processor while the writes run.",
                          "processor use (% of one processor)")
        self.by_delay("fig14", "cpu_per_gb", "Processor time per gigabyte, 128 KiB blocks",
                      "Processor seconds spent per GB (10⁹ bytes) written, both ends added."
                      " Less is better.", "processor time, both ends (s/GB)")

    def against_model(self):
        size = [k for k in self.model if k[0] == self.suite and k[1] == BLOCK]
        if not size:
            return
        delays = sorted({k[2] for k in size} | set(self.delays))
        lines, rows = [], []
        for system, depth in reversed(DEPTHS.items()):
            _, colour, point = SYSTEMS[system]
            said = [(i, *[self.model[self.suite, BLOCK, d, depth][0]] * 3) for i, d in
                    enumerate(delays) if (self.suite, BLOCK, d, depth) in self.model]
            seen = [p for i, d in enumerate(delays)
                    for p in self.spread(i, system, BLOCK, d, "mb_per_s")]
            name = f"OP-{depth}" if depth > 1 else "no optimisation (n = 1)"
            lines.append(Line(f"{name}, model", colour, 0, said, "lines lw 2"))
            lines.append(Line(f"{name}, measured", colour, point, seen, "points lw 2"))
        self.finish("fig15", lines, "Model and measurement, 128 KiB blocks",
                    "Lines: what the model predicts for n = 1, 2, 4, 6, 8, 10. Points: what was"
                    " measured (without optimisation: n = 1), median of the rounds, bars lowest to"
                    " highest. Logarithmic throughput axis.",
                    ("one-way delay (ms)", "throughput (MB/s)"),
                    [(f"{d:g}", i) for i, d in enumerate(delays)], log=True)

    def by_depth(self):
        """Both axes are logarithmic, so that the ideal is a straight line and n* fits in."""
        small = [d for d in self.delays if 0 < d < 8]
        lines, extra, marks, top = [], [], [], 10
        for colour, d in zip(DELAY_COLOURS, small[:1] + [8, 64]):
            base = self.spread(0, "op2", BLOCK, d, "mb_per_s")
            points = [p for s, n in DEPTHS.items() if base
                      for p in self.spread(n, s, BLOCK, d, "mb_per_s", base[0][1])]
            if len(points) < 2:     # OP-2 alone says nothing
                continue
            stars = [v[1] for k, v in self.model.items() if k[:3] == (self.suite, BLOCK, d)]
            label = f"{d:g} ms"
            if stars and 1 <= stars[0] < math.inf:
                label += f", n* = {stars[0]:g}"
                top = max(top, stars[0])
                extra.append(f"set arrow from {stars[0]:g}, graph 0 to {stars[0]:g}, graph 1 nohead"
                             f" lw 1.5 dt 3 lc rgb '{colour}'")
            lines.append(Line(label, colour, (7, 5, 9)[len(lines)], points, "linespoints lw 2"))
            auto = self.spread(0, "auto", BLOCK, d, "mb_per_s", base[0][1])
            if auto:
                marks.append((f"{d:g} ms, OP-auto", colour, auto[0][1]))
        if not lines:
            return
        top = 2 ** math.ceil(math.log2(top * 1.1))
        ideal = Line("ideal, n/2", "#888888", 0, [(1, .5, .5, .5), (top, *[top / 2] * 3)],
                     "lines lw 1.5 dt 2")
        marks = [ideal] + [Line(label, colour, 0, [(1, y, y, y), (top, y, y, y)],
                                "lines lw 1.2 dt 4") for label, colour, y in marks]
        xtics = [(str(n), n) for n in (1, 2, 4, 6, 8, 10, 16, 32, 64, 128, 256) if n <= top]
        extra += ["set logscale x", f"set xrange [0.9:{top}]"]
        self.finish("fig16", lines, "Gain with depth, 128 KiB blocks",
                    "Throughput divided by that of OP-2 at the same delay, by depth n (n = 1 is"
                    " without optimisation). Dashed grey: the ideal, n/2. Dotted vertical: n*, the depth at which"
                    " the model expects the pipeline to be full. Horizontal: OP-auto, which"
                    " chooses its depth itself. Both axes are logarithmic.",
                    ("depth n", "throughput / OP-2"), xtics, extra, log=True, marks=marks)

    def all_figures(self):
        self.by_block("fig09", 8)
        self.by_block("fig10", 64)
        self.ratio()
        self.processor()
        self.against_model()
        self.by_depth()
        return self.figures


# ---- the peers ---------------------------------------------------------------------------------

def number(value):
    """Three digits, without an exponent."""
    if value == 0:
        return "0"
    value = float(f"{value:.3g}") if abs(value) < 1000 else value   # 99.96 is 100, not 100.0
    digits = max(0, 2 - math.floor(math.log10(abs(value))))
    return f"{value:.{digits}f}"


def shown(step, bar_):
    unit = STEPS[step][0]
    if bar_.cut:
        return "stopped" if unit == "MB/s" else f">{bar_.value:g}"
    return number(bar_.value)


def cell(step, bar_):
    text = shown(step, bar_)
    if bar_.high > bar_.low:
        text += f" ({number(bar_.low)}–{f'>{bar_.high:g}' if bar_.high_cut else number(bar_.high)})"
    return text


def best(step, peers, names, worst=False):
    """The best (of limits: the tightest) of the named peers that were measured, or None."""
    names = [n for n in names if n in peers and peers[n].value > 0]
    rate = STEPS[step][0] == "MB/s"
    pick = max if rate != worst else min
    return pick(names, key=lambda n: (peers[n].value, peers[n].cut), default=None)


def ratio(step, peers, other):
    """How many times better encsanfs is than the other; < and > where one was cut off."""
    mine = peers.get("encsanfs")
    if other is None or mine is None or not mine.value or (mine.cut and peers[other].cut):
        return ""
    factor = mine.value / peers[other].value
    if STEPS[step][0] != "MB/s":
        factor = 1 / factor
    sign = "<" if mine.cut else ">" if peers[other].cut else ""
    return f"{sign}{factor:.2f}" if factor < 10 else f"{sign}{number(factor)}"


def grid(steps):
    """The table of one setting: heading, rows, and per row which cells are the best encrypted."""
    names = [s for s in STEPS if s in steps]
    head = [""] + [f"{STEPS[s][1]} ({STEPS[s][0]})" for s in names]
    rows, strong = [], []
    top = {s: best(s, steps[s], ("encsanfs",) + ENCRYPTED) for s in names}
    for peer, (label, _) in PEERS.items():
        if any(peer in steps[s] for s in names):
            rows.append([label] + [cell(s, steps[s][peer]) if peer in steps[s] else "–"
                                   for s in names])
            strong.append([False] + [top[s] == peer for s in names])
    for label, of in (("encsanfs : best encrypted peer", lambda s: best(s, steps[s], ENCRYPTED)),
                      ("encsanfs : limit", lambda s: best(s, steps[s], STEPS[s][2], True))):
        found = [(ratio(s, steps[s], of(s)), of(s)) for s in names]
        rows.append([label] + [f"{r} ({PEERS[o][0]})" if r else "–" for r, o in found])
        strong.append([False] * len(head))
    return head, rows, strong


LEGEND = ("Median of the rounds, in brackets lowest–highest. MB/s: more is better; s and ms: less is"
          " better. Bold: the best encrypted system. Ratios are turned so that more than 1 means"
          " encsanfs is better; the limit is what the network (iperf3, 8 streams) or FUSE itself"
          " (nullfuse) allows. “>”, “stopped”: cut off for taking too long.")


def table(out):
    """The peers' tables as Markdown, one per setting; empty without peers.csv."""
    parts = []
    for setting, steps in read_peers(pathlib.Path(out)).items():
        head, rows, strong = grid(steps)
        lines = ["| " + " | ".join(head) + " |", "|---" + "|---:" * (len(head) - 1) + "|"]
        for row, bold in zip(rows, strong):
            lines.append("| " + " | ".join(f"**{c}**" if b else c for c, b in zip(row, bold)) + " |")
        parts.append(f"**{setting}**\n\n" + "\n".join(lines))
    return "\n\n".join(parts + [LEGEND]) + "\n" if parts else ""


def tic_step(width):
    """The smallest 1-2-5 step that gives at most five tics."""
    steps = (m * 10.0 ** e for e in range(-6, 8) for m in (1, 2, 5))
    return next(step for step in steps if step * 5 >= width)


def draw_peers(folder, foot, setting, steps):
    """Small multiples, one panel of horizontal bars per step."""
    name = "peers-" + re.sub(r"[^a-z0-9]+", "-", setting.lower()).strip("-")
    names = [s for s in STEPS if s in steps]
    rows = math.ceil(len(names) / 2)
    height = 100 + 255 * rows
    data, body = [], [
        f'set label 1000 {quote(foot)} at screen 0.012,0.012 font ",9" tc rgb "#777777"',
        f"set multiplot layout {rows},2 title {quote('File systems, ' + setting)}"
        f" margins 0.17,0.97,{60 / height},{1 - 68 / height} spacing 0.2,{78 / height}"]
    for i, step in enumerate(names):
        unit, title, limits = STEPS[step]
        # A limit that is not the tightest would only squeeze the other bars.
        tightest = best(step, steps[step], limits, True)
        peers = [p for p in PEERS if p in steps[step] and p in (tightest, *SHOWN)]
        bars = []
        for y, peer in zip(range(len(peers), 0, -1), peers):
            b = steps[step][peer]
            colour = int(PEERS[peer][1][1:], 16)
            if b.cut:   # half way to white: the bar would go on
                colour = (colour >> 1 & 0x7f7f7f) + 0x808080
            bars.append((b.value, y, 0, b.value, y - 0.36, y + 0.36, str(colour),
                         b.low, b.high, quote(shown(step, b))))
        data.append(block(f"p{i}", bars))
        wide = max(b[8] for b in bars) or 1
        better = "more is better" if unit == "MB/s" else "less is better"
        body += [f"set title {quote(f'{title} ({unit}), {better}')} offset 0,-0.7",
                 f"set xrange [0:{wide * 1.22:g}]", f"set yrange [0.4:{len(peers) + 0.6}]",
                 "set ytics (%s)" % ", ".join(f"{quote(PEERS[p][0])} {len(peers) - k}"
                                              for k, p in enumerate(peers)),
                 "set border 1", "set tics nomirror scale 0",
                 f"set xtics {tic_step(wide * 1.22):g}",
                 GRID.replace(" y ", " "), "unset key", "set style fill solid 1",
                 f"plot $p{i} using 1:2:3:4:5:6:7 with boxxyerror lc rgb variable, \\\n"
                 f"  $p{i} using ($9 > $8 ? $1 : NaN):2:8:9 with xerrorbars pt 0 lw 1.5"
                 " lc rgb '#222222', \\\n"
                 f"  $p{i} using 9:2:10 with labels left offset 0.6,0", "unset label 1000"]
    body.append("unset multiplot")
    render(folder, name, "\n".join(data), "\n".join(body), 1000, height)
    return name


# ---- the page ----------------------------------------------------------------------------------

CSS = """
body { font: 16px/1.5 system-ui, "DejaVu Sans", sans-serif; color: #1c1c1c; background: #fbfbf9;
  max-width: 1080px; margin: 0 auto; padding: 1.5rem 1rem 4rem }
h1 { margin-bottom: .2rem } h2 { margin-top: 3rem; border-bottom: 2px solid #d55e00 }
h3 { margin-bottom: .4rem } a { color: #0059a0 } .machine { color: #555; margin-top: 0 }
figure { margin: 1.5rem 0 2.5rem; padding: .8rem; background: #fff; border: 1px solid #ddd;
  border-radius: 6px }
.wide { overflow-x: auto } img { display: block; width: 100%; min-width: 620px; height: auto }
figcaption { margin-top: .6rem } summary { cursor: pointer; color: #0059a0; margin-top: .5rem }
table { border-collapse: collapse; font-size: .86rem; background: #fff; margin: .6rem 0 }
th, td { padding: .3rem .6rem; border: 1px solid #ddd; text-align: right; white-space: nowrap }
th { background: #f1f1ec } th:first-child, td:first-child { text-align: left;
  position: sticky; left: 0; background: #fff; white-space: normal; min-width: 6.5rem }
tr.ratio td { background: #fdf1e8 } small { color: #555; font-weight: normal; line-height: 1.2 }
"""


def small(text):
    """What stands in brackets goes below, smaller: the table stays narrow."""
    return re.sub(r" \((.*)\)$", r"<br><small>\1</small>", html.escape(text))


def html_table(head, rows, strong=None):
    lines = ["<div class=wide><table>",
             "<tr>" + "".join(f"<th>{small(h)}</th>" for h in head) + "</tr>"]
    for i, row in enumerate(rows):
        cells = [f"<b>{small(c)}</b>" if strong and strong[i][k] else small(c)
                 for k, c in enumerate(row)]
        mark = " class=ratio" if row[0].startswith("encsanfs :") else ""
        lines.append(f"<tr{mark}>" + "".join(f"<td>{c}</td>" for c in cells) + "</tr>")
    return "\n".join(lines + ["</table></div>"])


def html_figure(figure):
    e = html.escape
    numbers = ("<details><summary>numbers</summary>" + html_table(figure.head, figure.rows)
               + "</details>" if figure.rows else "")
    return (f'<figure id="{figure.name}"><div class=wide><a href="figures/{figure.name}.svg">'
            f'<img src="figures/{figure.name}.svg" alt="{e(figure.title)}"></a></div>'
            f"<figcaption><b>{e(figure.title)}.</b> {e(figure.text)}</figcaption>{numbers}</figure>")


def page(out, machine, suites, peers, drawn):
    parts = ["<!doctype html>", "<html lang=en><meta charset=utf-8>",
             '<meta name=viewport content="width=device-width, initial-scale=1">',
             f"<title>EncSAN: benchmark results</title><style>{CSS}</style>",
             "<h1>EncSAN: benchmark results</h1>",
             *(f"<p class=machine>{html.escape(name)}: {html.escape(line)}</p>"
               for name, line in machine.items())]
    files = [n for n in ("paper.csv", "model.csv", "peers.csv") if (out / n).exists()]
    parts.append("<p>The data: " + ", ".join(f'<a href="{n}">{n}</a>' for n in files) + ". Every"
                 " picture is also there as PNG, in <a href=figures/>figures</a>.</p>")
    if peers:
        legend = html.escape(LEGEND.replace("in brackets", "below it"))
        parts.append(f"<h2>File systems compared</h2><p>{legend}</p>")
    for setting, steps in peers.items():
        parts += [f"<h3>{html.escape(setting)}</h3>", html_table(*grid(steps)), html_figure(Figure(
            drawn[setting], f"File systems, {setting}", "The medians of the table as bars; thin"
            " lines run from the lowest to the highest round. Pale bars were cut off: they would"
            " go on. Grey bars are not file systems: one iperf3 stream for orientation, and"
            " the tightest limit.", [], []))]
    for suite, figures in suites.items():
        parts.append(f"<h2>The paper’s experiment, {html.escape(SUITES.get(suite, suite))}</h2>"
                     "<p>Sequential writes over iSCSI across a link with delay. The figures are"
                     " numbered like those of the paper which they repeat.</p>")
        parts += map(html_figure, figures)
    (out / "results.html").write_text("\n".join(parts) + "\n", encoding="utf-8")


def write(out):
    out = pathlib.Path(out)
    folder = out / "figures"
    folder.mkdir(parents=True, exist_ok=True)
    machine = read_machine(out)
    runs, model, peers = read_paper(out), read_model(out), read_peers(out)
    found = {key[0] for key in (*runs, *model)}
    suites = {}
    for suite in [s for s in SUITES if s in found] + sorted(found - set(SUITES)):
        suites[suite] = Paper(folder, machine.get("paper", ""), runs, model, suite).all_figures()
    drawn = {setting: draw_peers(folder, machine.get("peers", ""), setting, steps)
             for setting, steps in peers.items()}
    page(out, machine, {s: f for s, f in suites.items() if f}, peers, drawn)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: report.py OUT")
    write(pathlib.Path(sys.argv[1]))
