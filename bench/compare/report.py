"""Prints what the parts found: tables to read, then a line `metric NAME VALUE` for each number."""
import math

LABELS = {"faiss-ivfpq": "faiss IVF-PQ, one call a query", "faiss-hnsw": "faiss HNSWFlat",
          "faiss-hnsw-sq8": "faiss HNSW-SQ8 + re-rank", "usearch-f32": "usearch f32", "usearch-i8": "usearch i8",
          "glass-f32": "glass f32", "glass-sq8": "glass SQ8", "glass-sq4": "glass SQ4"}


class Report:
    def __init__(self):
        self.lines, self.metrics = [], []

    def add(self, text=""):
        self.lines.append(text)

    def metric(self, name, value, digits=3):
        if value is not None and not math.isnan(value):
            self.metrics.append(f"metric {name} {value:.{digits}f}")

    def text(self):
        return "\n".join(self.lines + [""] + self.metrics)


def qps(points, target, name):
    return points.get(str(target), {}).get(name, {}).get("qps")


def cell(point):
    return f"{point['qps']:9,.0f} {point['ef']:5d}" if point else f"{'–':>9} {'':5}"


def search_table(report, part):
    names = ["u2i"] + sorted((name for name in part["builds"] if name != "u2i"),
                             key=lambda n: -(qps(part["points"].get("users") or part["points"]["items"], 0.95, n) or 0))
    for kind, points in part["points"].items():
        report.add(f"\n{part['set']}: {part['rows']:,} x {part['dim']}, {kind} queries, k 10, one thread; QPS and ef at recall")
        report.add(f"{'':32}{'.90':>15}{'.95':>16}{'.99':>16}   p50/p99 us at .95   build s (CPU s) /threads  bytes/vector")
        for name in names:
            cells = " ".join(cell(points.get(str(t), {}).get(name)) for t in (0.9, 0.95, 0.99))
            at = points.get("0.95", {}).get(name, {})
            build = part["builds"].get(name)
            tail = f"   {at['p50_us']:7.0f} /{at['p99_us']:7.0f}  " if "p50_us" in at else " " * 21
            if build:
                took = f"{build['wall_s']:9.1f} ({build['cpu_s']:.0f}) /{build['threads']}" if build["wall_s"] else f"{'–':>9}"
                tail += took.ljust(22) + f"{build['bytes']:9.0f}"
            report.add(f"{LABELS.get(name, name):<32}{cells}{tail}")
        auto = part["auto"].get(kind)
        if auto:
            report.add(f"u2i by itself (ef {auto.get('ef_used', 'auto')}): {auto['qps']:,.0f} QPS at recall {auto['recall']:.4f}")
        threads = part.get("threads", {}).get(kind)
        if threads:
            report.add(f"u2i, two threads: {threads['two']:,.0f} QPS, {threads['ratio']:.2f} of one")


def search_metrics(report, part, suffix):
    for kind, points in part["points"].items():
        if kind == "items" and "users" in part["points"]:
            ending = suffix + "_items"
        else:
            ending = suffix
        for target in (0.95, 0.99):
            own, label = qps(points, target, "u2i"), f"r{round(target * 100)}"
            if own is None:
                continue
            peers = {name: point["qps"] for name, point in points[str(target)].items() if name != "u2i"}
            if "hnswlib" in peers:
                report.metric(f"qps_vs_hnswlib_{label}{ending}", own / peers["hnswlib"], 2)
            if peers:
                best = max(peers, key=peers.get)
                report.metric(f"qps_vs_best_{label}{ending}", own / peers[best], 2)
                report.add(f"{part['set']}, {kind}, recall {target}: {own / peers[best]:.2f} x the best peer, {LABELS.get(best, best)}")
        if kind in part.get("threads", {}) and part["threads"][kind]:
            report.metric(f"two_threads_vs_one{ending}", part["threads"][kind]["ratio"], 2)
        if kind in part["auto"]:
            report.metric(f"auto_recall{ending}", part["auto"][kind]["recall"], 4)
    own, peer = part["builds"].get("u2i"), part["builds"].get("hnswlib")
    if own and peer and own["wall_s"] and own["threads"] == peer["threads"]:
        report.metric(f"build_vs_hnswlib{suffix}", peer["wall_s"] / own["wall_s"], 2)
        report.metric(f"build_cpu_vs_hnswlib{suffix}", peer["cpu_s"] / own["cpu_s"], 2)
    if own:
        report.metric(f"bytes_per_vector_{part['dim']}{suffix}", own["bytes"], 0)


def filters_report(report, part):
    report.add(f"\n{part['set']}, users queries, filtered: QPS (recall); u2i as it chooses, peers at the smallest ef for .95")
    names = ["u2i", "u2i-flat", "faiss-flat", "hnswlib", "faiss-hnsw", "walk"]
    heads = ["u2i", "u2i exact scan", "faiss scan", "hnswlib", "faiss HNSW", "u2i unfiltered"]
    report.add(f"{'passing':<20}" + "".join(f"{head:>19}" for head in heads))
    recalls, ratios, scans, walks = [], [], [], []
    for case in part["cases"]:
        row = f"{case['share'] * 100:g} % {case['kind']}".ljust(20)
        engines = case["engines"]
        for name in names:
            point = engines.get(name)
            if point is None:
                row += f"{'–':>19}"
            elif not point.get("reached", True):
                row += f"{'only ' + format(point['recall'], '.3f'):>19}"
            else:
                row += f"{point['qps']:11,.0f} ({point['recall']:.3f})"
        own = engines.get("u2i")
        row += f"   {own.get('strategies', '')}" if own else ""
        report.add(row)
        if own is None:
            continue
        recalls.append(own["recall"])
        peers = [engines[n]["qps"] for n in ("hnswlib", "faiss-hnsw") if "qps" in engines.get(n, {})]
        if peers:
            ratios.append(own["qps"] / max(peers))
        scan = max(engines[n]["qps"] for n in ("u2i-flat", "faiss-flat") if n in engines)
        scans.append(own["qps"] / scan)
        walks.append(own["qps"] / engines["walk"]["qps"])
    if recalls:
        report.metric("filter_recall_min", min(recalls), 4)
        report.metric("filter_vs_scan_min", min(scans), 2)
        report.metric("filter_vs_walk_min", min(walks), 2)
        # Each case has to reach one of both: a scan is slow where much passes, the walk where little does.
        report.metric("filter_worst_of_aims", min(max(s / 0.9, w / 0.5) for s, w in zip(scans, walks)), 2)
    if ratios:
        report.metric("filter_qps_vs_best_min", min(ratios), 2)


def exclude_report(report, part):
    report.add(f"\n{part['set']}, users queries, the {part['count']:,} nearest rows of each excluded: QPS, recall")
    for name, found in part["engines"].items():
        if not found.get("reached", True):
            report.add(f"{LABELS.get(name, name):<32} recall only {found['recall']:.3f}")
            continue
        own, plain = found["with"], found["without"]
        report.add(f"{LABELS.get(name, name):<32}{own['qps']:9,.0f} at {own['recall']:.4f}; without exclusion "
                   f"{plain['qps']:9,.0f} at {plain['recall']:.4f}: {own['qps'] / plain['qps']:.2f}")
    own = part["engines"].get("u2i")
    if own and own.get("reached", True):
        report.metric("exclude1000_recall", own["with"]["recall"], 4)
        report.metric("exclude1000_speed", own["with"]["qps"] / own["without"]["qps"], 2)


def churn_report(report, part):
    changed, mixed = part["changed"], part["mixed"]
    # A vector's memory, as some were inserted one by one after the first figure was taken.
    bytes_before, bytes_after = (part[when]["total_bytes"] / part[when]["count"] for when in ("before", "after"))
    lost = part["recall_fresh"] - part["recall_churned"]
    report.add(f"\n{part['set']}: {part['replaced']:,} of {part['rows']:,} vectors replaced, one at a time, in random order")
    report.add(f"recall at ef {part['ef']}: {part['recall_churned']:.4f}, of a graph built anew {part['recall_fresh']:.4f}; "
               f"QPS {part['qps_churned']:,.0f} and {part['qps_fresh']:,.0f}")
    report.add(f"one replacement {changed['replace_us']:.0f} us ({changed['repair_share'] * 100:.0f} % of it repair), one insert "
               f"{changed['insert_us']:.0f} us; memory {bytes_after / bytes_before - 1:+.1%}")
    report.add(f"queries while vectors are inserted ({mixed['inserts_per_s']:,.0f}/s): p50 {mixed['busy_p50_us']:.0f}, p99 "
               f"{mixed['busy_p99_us']:.0f} us; idle: {mixed['idle_p50_us']:.0f}, {mixed['idle_p99_us']:.0f} us")
    report.metric("churn_recall_loss", lost, 4)
    report.metric("churn_speed_loss", 1 - part["qps_churned"] / part["qps_fresh"])
    if part.get("qps_equal"):
        report.metric("churn_speed_loss_at_equal_recall", 1 - part["qps_equal"] / part["qps_fresh"])
    report.metric("churn_memory_growth", bytes_after / bytes_before - 1)
    report.metric("replace_vs_insert", changed["replace_us"] / changed["insert_us"], 2)
    report.metric("read_p99_busy_vs_idle", mixed["busy_p99_us"] / mixed["idle_p99_us"], 2)


def scaling_report(report, part):
    report.add(f"\n{part['set']}: time per query at recall .95 as the set grows ({part['dim']} dimensions)")
    first, last = part["points"][0], part["points"][-1]
    for point in part["points"]:
        grown = point["us"] / first["us"]
        logs = math.log(point["rows"]) / math.log(first["rows"])
        report.add(f"{point['rows']:>12,} rows  ef {point['ef']:4d}  {point['us']:8.1f} us   {grown:5.2f} x the first; "
                   f"log n has grown {logs:.2f} x")
    report.metric("scaling_over_log_n",
                  last["us"] / first["us"] / (math.log(last["rows"]) / math.log(first["rows"])), 2)


def rows_name(rows):
    return f"{rows // 1_000_000}m" if rows >= 1_000_000 else f"{rows // 1000}k"


def opening_report(report, part):
    report.add(f"\n{part['set']}: a snapshot of {part['rows']:,} vectors ({part['file_bytes'] / 1e6:,.0f} MB) opened until "
               f"the first answer: {part['open_s'] * 1e3:.1f} ms, warm; by itself recall {part['auto']['recall']:.4f}, "
               f"{part['auto']['qps']:,.0f} QPS")
    report.metric(f"open_{rows_name(part['rows'])}_s", part["open_s"], 4)


def print_all(parts, problems):
    report = Report()
    for name, part in parts.items():
        if name in ("filters", "exclude", "churn", "scaling", "open"):
            continue
        search_table(report, part)
    report.add()
    for name, part in parts.items():
        if name not in ("filters", "exclude", "churn", "scaling", "open"):
            search_metrics(report, part, "" if name == "text" else f"_{name}")
    for name, show in (("filters", filters_report), ("exclude", exclude_report), ("churn", churn_report),
                       ("scaling", scaling_report), ("open", opening_report)):
        if name in parts:
            show(report, parts[name])
    for name, why in problems.items():
        report.add(f"\nleft out or cut short: {name}: {why}")
    print(report.text())


def plot(parts, path):
    """Two panels: speed against recall on real text, and time per query as the set grows."""
    import matplotlib

    matplotlib.use("Agg")
    matplotlib.rcParams["svg.hashsalt"] = "u2i"  # equal input, equal file
    import matplotlib.pyplot as plt

    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4.2))
    text = parts.get("text")
    if text:
        kind = "users" if "users" in text["points"] else "items"
        for name in text["builds"]:
            line = [(point["recall"], point["qps"]) for target in ("0.9", "0.95", "0.99")
                    if (point := text["points"][kind].get(target, {}).get(name))]
            if line:
                left.plot(*zip(*line), marker="o", markersize=3, linewidth=2.5 if name == "u2i" else 1,
                          label=LABELS.get(name, name))
        left.set(xlabel="recall@10", ylabel="queries a second, one thread", yscale="log",
                 title=f"{text['rows']:,} real texts x {text['dim']}, user vectors")
        left.grid(True, which="both", alpha=0.3)
        left.legend(fontsize=7)
    scaling = parts.get("scaling")
    if scaling:
        rows = [point["rows"] for point in scaling["points"]]
        times = [point["us"] for point in scaling["points"]]
        limit = [times[0] * math.log(n) / math.log(rows[0]) * 1.3 for n in rows]
        right.plot(rows, times, marker="o", linewidth=2.5, label="u2i at recall .95")
        right.plot(rows, limit, linestyle="--", label="log n x 1.3")
        right.set(xlabel="vectors", ylabel="us per query", xscale="log", ylim=(0, None),
                  title=f"growth, {scaling['dim']} dimensions")
        right.grid(True, alpha=0.3)
        right.legend(fontsize=7)
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None} if str(path).endswith(".svg") else None)
