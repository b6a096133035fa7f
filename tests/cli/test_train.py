"""train, and what it changes: figures, scores with their parts, sessions of visitors without a name."""
import json
import random
import re
import signal
import subprocess
import time

import common


def events_of_two_tastes(users=120, seed=7):
    """Half of the users choose among a*, half among b*; everybody knows the hits h*."""
    rng = random.Random(seed)
    rows = ["user,item,action,timestamp"]
    for u in range(users):
        taste = "ab"[u % 2]
        chosen = rng.sample([f"{taste}{k}" for k in range(30)], 10) + rng.sample([f"h{k}" for k in range(5)], 3)
        rng.shuffle(chosen)
        for k, item in enumerate(chosen):
            rows.append(f"u{u},{item},like,{1700000000 + 86400 * k + 60 * u}")
    return "\n".join(rows) + "\n"


ITEMS = "id,title\n" + "".join(f"{kind}{k},Thing {kind}{k}\n" for kind in "abh" for k in range(30))


class Training(common.Case):
    def setUp(self):
        super().setUp()
        self.run_u2i("init", "shop.db")
        self.run_u2i("import", "shop.db", "items", "-", stdin=ITEMS)
        self.run_u2i("import", "shop.db", "events", "-", stdin=events_of_two_tastes())

    def train(self, *args, **how):
        return self.run_u2i("train", "shop.db", *args, **how)

    def test_without_a_training_stats_shows_no_figures(self):
        self.assertEqual(self.stats()["training"], {})
        self.assertNotIn("training", self.run_u2i("stats", "shop.db").out)

    def test_figures_are_shown_after_the_training_and_by_stats(self):
        report = self.train("--check", "users", "--json").json
        self.assertGreaterEqual(report["seconds"], 0)
        self.assertGreaterEqual(report["training"]["version"], 1)
        self.assertEqual(self.stats()["training"], report["training"])
        self.assertIn("version", self.run_u2i("stats", "shop.db").out)

    def test_for_people_it_is_a_table_with_meanings(self):
        lines = self.train("--check", "users").lines
        self.assertRegex(lines[0], r"^trained in [\d.]+ s$")
        self.assertIn("meaning", lines[1])
        self.assertTrue(any(line.startswith("version") for line in lines), lines)

    def test_tastes_are_told_apart(self):
        self.train("--check", "users")
        for taste in "ab":
            hits = self.run_u2i("recommend", "shop.db", "--session", f"{taste}1:like,{taste}2:like,{taste}3:like",
                                "--json", "-n", "10").jsonl
            kinds = {h["id"][0] for h in hits}
            self.assertIn(taste, kinds)
            self.assertLessEqual(kinds, {taste, "h"}, hits)  # the hits are everybody's

    def test_parts_add_up_to_the_score(self):
        self.train("--check", "users")
        hits = self.run_u2i("recommend", "shop.db", "u1", "--json").jsonl
        self.assertTrue(hits)
        for hit in hits:
            size = sum(abs(v) for v in hit["parts"].values())
            self.assertAlmostEqual(sum(hit["parts"].values()), hit["score"], delta=1e-4 * (1 + size))
            self.assertTrue(0 <= hit["probability"] <= 1)
        out = self.run_u2i("recommend", "shop.db", "u1", "--explain").out
        self.assertRegex(out, r"(?m)^1\. \S+: -?[\d.]+ = +\S+ -?[\d.]+")
        self.assertIn("pulled by", out)
        self.assertNotIn("these make", out)

    def test_follow_trains_whenever_enough_is_new(self):
        with subprocess.Popen([common.U2I, "train", "shop.db", "--follow", "--json"], cwd=self.dir, env=self.env,
                              stdout=subprocess.PIPE, text=True) as follower:
            first = json.loads(follower.stdout.readline())
            self.assertEqual(first["version"], 1)
            self.run_u2i("import", "shop.db", "events", "-", stdin=events_of_two_tastes(users=90, seed=8))
            second = json.loads(follower.stdout.readline())
            self.assertEqual(second["version"], 2)
            self.assertGreater(second["events"], first["events"])
            follower.send_signal(signal.SIGINT)
            self.assertEqual(follower.wait(60), 0)
        self.assertEqual(self.stats()["training"]["version"], 2)

    def test_follow_stands_alone_and_wants_train_auto(self):
        self.assertEqual(self.train("--follow", "--rollback", code=2).out, "")
        self.run_u2i("config", "shop.db", "set", "train_auto", "off")
        self.assertIn("train_auto", self.train("--follow", code=2).err)

    def test_rollback_and_forget(self):
        first = self.train("--check", "users", "--json").json["training"]
        second = self.train("--check", "users", "--json").json["training"]
        self.assertNotEqual(first["version"], second["version"])
        self.assertEqual(self.train("--rollback", "--json").json["training"]["version"], first["version"])
        self.train("--forget")
        self.assertEqual(self.stats()["training"], {})
        self.assertIn("no training", self.train("--rollback", code=3).err)

    def test_contradictions_are_refused(self):
        self.assertIn("stand alone", self.train("--rollback", "--check", "users", code=2).err)
        self.assertIn("stand alone", self.train("--rollback", "--forget", code=2).err)
        self.assertIn("--at", self.train("--at", "tomorrow", code=2).err)
        self.train("--check", "maybe", code=2)

    def test_control_c_changes_nothing(self):
        self.run_u2i("import", "shop.db", "events", "-", "--no-ids", stdin=events_of_two_tastes(1500, 8))
        process = subprocess.Popen([common.U2I, "train", "shop.db", "--check", "users"], cwd=self.dir, env=self.env,
                                   stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
        if process.returncode == 130:
            self.assertIn(b"nothing has changed", err)
            self.assertEqual(self.stats()["training"], {})
        else:  # it was faster, or the signal came before the handler
            self.assertIn(process.returncode, (0, -signal.SIGINT), err)


class Sessions(common.Case):
    def setUp(self):
        super().setUp()
        self.make_shop()

    def ids(self, *args):
        return [hit["id"] for hit in self.run_u2i("recommend", "shop.db", *args, "--json").jsonl]

    def test_a_visitor_without_a_name_is_recommended_to(self):
        got = self.ids("--session", "b3:like")
        self.assertEqual(got[0], "b4")
        self.assertNotIn("b3", got)

    def test_a_session_stands_beside_the_recorded_events(self):
        self.assertIn("b3", self.ids("u1"))
        self.assertNotIn("b3", self.ids("u1", "--session", "b3"))
        self.assertNotIn("b1", self.ids("u1", "--session", "b3"))

    def test_without_user_and_session_it_is_refused(self):
        self.assertIn("--session", self.run_u2i("recommend", "shop.db", code=2).err)
        self.assertIn("ITEM:ACTION", self.run_u2i("recommend", "shop.db", "--session", "b1:", code=2).err)

    def test_numbers_and_times_are_checked(self):
        self.assertIn("--diversity", self.run_u2i("recommend", "shop.db", "u1", "--diversity", "2", code=2).err)
        self.assertIn("--at", self.run_u2i("recommend", "shop.db", "u1", "--at", "soon", code=2).err)

    def test_rules_come_from_the_command_line_or_a_file(self):
        self.write("rules.txt", 'pin "f2" at 1\n')
        self.assertEqual(self.ids("u2", "--rules-file", "rules.txt"), self.ids("u2", "--rules", 'pin "f2" at 1'))


if __name__ == "__main__":
    common.main()
