"""init, record, events, item, user, delete, config, stats, verify, export."""
import gzip
import json
import os
import sqlite3
import subprocess

import common


class Init(common.Case):
    def test_a_new_store_says_what_it_is(self):
        out = self.run_u2i("init", "new.db", "--json").json
        self.assertEqual(out["store"], "new.db")
        self.assertRegex(out["model"], "^hash")
        self.assertIn("u2i import other.db items", self.run_u2i("init", "other.db").out)

    def test_an_existing_file_is_not_touched(self):
        self.write("mine.txt", "important")
        self.assertIn("mine.txt", self.run_u2i("init", "mine.txt", code=None).err)
        self.assertEqual(self.read("mine.txt"), "important")
        self.run_u2i("init", "a.db")
        self.assertNotEqual(self.run_u2i("init", "a.db", code=None).code, 0)

    def test_settings_are_set_and_a_wrong_one_leaves_no_file(self):
        self.run_u2i("init", "a.db", "--set", "action.rent=4")
        self.assertEqual(float(self.run_u2i("config", "a.db", "get", "action.rent").out), 4)
        self.assertIn("--set", self.run_u2i("init", "b.db", "--set", "nosuch.thing=4", code=2).err)
        self.assertEqual([f for f in os.listdir(self.dir) if f.startswith("b.db")], [])

    def test_help_lists_the_presets_and_each_can_be_used(self):
        listed = self.run_u2i("init", "--help").out.split("\nPresets\n")[1].split("\n\n")[0]
        names = [line.split()[0] for line in listed.splitlines() if line[:3].strip()]
        self.assertEqual(names, ["ecommerce", "content", "recruitment", "dating"])
        for name in names:
            self.run_u2i("init", f"{name}.db", "--preset", name)
            self.assertIn("explore", self.run_u2i("config", f"{name}.db", "get", "rules").out)
            self.assertIn(name, self.run_u2i("man").out)

    def test_a_setting_comes_after_the_preset(self):
        self.run_u2i("init", "a.db", "--set", "popular_blend=0.1", "-p", "ecommerce")
        self.assertEqual(self.run_u2i("config", "a.db", "get", "popular_blend").out.strip(), "0.1")

    def test_an_unknown_preset_leaves_no_file_and_names_the_known_ones(self):
        err = self.run_u2i("init", "b.db", "--preset", "shop", code=2).err
        self.assertIn("ecommerce, content, recruitment and dating", err)
        self.assertEqual([f for f in os.listdir(self.dir) if f.startswith("b.db")], [])

    def test_store_in_memory_is_refused(self):
        self.assertIn("name a file", self.run_u2i("init", ":memory:", code=2).err)

    def test_vector_store_needs_a_length(self):
        self.assertIn("--dim", self.run_u2i("init", "v.db", "--model", "none", code=2).err)
        self.assertEqual(self.run_u2i("init", "v.db", "--dim", "3", "--json").json["dim"], 3)
        self.run_u2i("init", "w.db", "--dim", "99999", code=2)


class Events(common.Case):
    def setUp(self):
        super().setUp()
        self.make_shop()

    def test_record_counts_in_the_next_answer(self):
        self.run_u2i("record", "shop.db", "new", "b3", "like")
        hits = self.run_u2i("recommend", "shop.db", "new", "--json").jsonl
        self.assertEqual(hits[0]["id"], "b4")
        self.assertNotIn("b3", [h["id"] for h in hits])

    def test_event_with_an_id_is_recorded_once(self):
        args = ("record", "shop.db", "u9", "b1", "view", "--id", "e1", "--time", "2024-05-17T08:30:00Z",
                "--value", "2", "--json")
        self.assertEqual(self.run_u2i(*args).json, {"recorded": 1})
        self.assertEqual(self.run_u2i(*args).json, {"recorded": 0})
        event, = self.run_u2i("events", "shop.db", "u9", "--json").jsonl
        self.assertEqual((event["user"], event["action"], event["item"], event["time_ms"], event["value"]),
                         ("u9", "view", "b1", 1715934600000, 2))
        exported = self.run_u2i("export", "shop.db", "events").jsonl[-1]
        self.assertEqual((exported["item"], exported["id"]), ("b1", "e1"))

    def test_unknown_item_action_and_user(self):
        self.assertIn("gone", self.run_u2i("record", "shop.db", "u1", "gone", "view", code=3).err)
        self.run_u2i("record", "shop.db", "u1", "b1", "juggle", code=2)
        self.run_u2i("events", "shop.db", "nobody", code=3)

    def test_history_is_a_table_newest_first(self):
        lines = self.run_u2i("events", "shop.db", "u1").lines
        self.assertRegex(lines[0], r"^time \(UTC\) +action +value +item +title$")
        self.assertRegex(lines[1], r"^2024-01-02 10:00:00 +like +1 +b1 +Dune$")
        self.assertRegex(lines[2], r"^2024-01-01 10:00:00 +view +1 +f1 +星のカービィ$")
        self.assertEqual(len(self.run_u2i("events", "shop.db", "u1", "-n1").lines), 2)

    def test_wrong_time_and_value(self):
        self.run_u2i("record", "shop.db", "u1", "b1", "view", "--time", "yesterday", code=2)
        self.run_u2i("record", "shop.db", "u1", "b1", "view", "--value", "0", code=2)


class ItemsAndUsers(common.Case):
    def setUp(self):
        super().setUp()
        self.make_shop()

    def test_put_show_and_delete_an_item(self):
        self.run_u2i("item", "shop.db", "put", "n1", "--title", "New", "-c", "book", "--attr", "price:=3.5",
                     "--attr", "lang=en", "--attrs", '{"a":[1]}')
        self.assertEqual(self.run_u2i("item", "shop.db", "show", "n1", "--json").json,
                         {"id": "n1", "title": "New", "category": "book",
                          "attrs": {"a": [1], "price": 3.5, "lang": "en"}})
        self.assertRegex(self.run_u2i("item", "shop.db", "show", "n1").out, r"title +New\n")
        self.run_u2i("item", "shop.db", "delete", "n1")
        self.run_u2i("item", "shop.db", "show", "n1", code=3)
        self.run_u2i("item", "shop.db", "delete", "n1", code=3)

    def test_user_set_keeps_what_is_not_named(self):
        self.run_u2i("user", "shop.db", "set", "x", "--interests", "maps", "--attr", "city=Bern", "--decay", "0.8")
        self.run_u2i("user", "shop.db", "set", "x", "--attr", "age:=31", "--attr", "city:=null")
        self.assertEqual(self.run_u2i("user", "shop.db", "show", "x", "--json").json,
                         {"id": "x", "interests": "maps", "attrs": {"age": 31}, "decay": 0.8})
        self.run_u2i("user", "shop.db", "set", "x", "--decay", "2", code=2)
        self.run_u2i("user", "shop.db", "show", "nobody", code=3)

    def test_deleting_a_user_erases_the_history(self):
        self.run_u2i("user", "shop.db", "delete", "u1")
        self.run_u2i("events", "shop.db", "u1", code=3)
        self.assertEqual(self.stats()["events"], 3)

    def test_delete_many_and_name_the_missing(self):
        result = self.run_u2i("delete", "shop.db", "item", "b1", "gone", "b2", "--json", code=3)
        self.assertEqual(result.json, {"deleted": 2, "not_found": 1})
        self.assertIn("'gone'", result.err)
        self.run_u2i("delete", "shop.db", "item", "-", stdin="b3\nb4\n")
        self.run_u2i("delete", "shop.db", "user", "u2")
        self.assertEqual(self.stats()["items"], 2)


class Care(common.Case):
    def setUp(self):
        super().setUp()
        self.make_shop()

    def test_config_lists_gets_sets_and_resets(self):
        names = {s["name"]: s for s in self.run_u2i("config", "shop.db", "--json").jsonl}
        self.assertIn("action.view", names)
        initial = names["half_life_s"]["default"]
        self.run_u2i("config", "shop.db", "set", "half_life_s", "1000")
        self.assertEqual(float(self.run_u2i("config", "shop.db", "get", "half_life_s").out), 1000)
        self.run_u2i("config", "shop.db", "reset", "half_life_s")
        self.assertEqual(self.run_u2i("config", "shop.db", "get", "half_life_s").out.strip(), initial)
        self.assertIn("half_life_s", self.run_u2i("config", "shop.db").out)

    def test_mistyped_setting_gets_a_suggestion(self):
        for args in (["get", "half_lif_s"], ["set", "half_lif_s", "3"]):
            self.assertIn("did you mean 'half_life_s'?", self.run_u2i("config", "shop.db", *args, code=3).err)
        self.run_u2i("config", "shop.db", "set", "half_life_s", "soon", code=2)
        self.run_u2i("config", "shop.db", "set", "half_life_s", code=2)

    def test_negative_value_needs_no_dashes_before_it(self):
        self.run_u2i("config", "shop.db", "set", "action.regret", "-5")
        self.assertEqual(float(self.run_u2i("config", "shop.db", "get", "action.regret").out), -5)
        self.run_u2i("config", "shop.db", "get", "-x", code=2)

    def test_stats_count(self):
        stats = self.stats()
        self.assertEqual((stats["items"], stats["users"], stats["events"]), (6, 3, 5))
        self.assertRegex(self.run_u2i("stats", "shop.db").out, r"items +6\n")

    def test_sound_store_has_no_faults(self):
        self.assertEqual(self.run_u2i("verify", "shop.db").out, "no faults\n")
        self.assertEqual(self.run_u2i("verify", "shop.db", "--json").out, "")

    def test_damaged_vector_is_found_with_exit_code_5(self):
        db = sqlite3.connect(self.path("shop.db"))
        found = None
        for (table,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall():
            for column in db.execute(f"PRAGMA table_info({table})").fetchall():
                if column[2] == "BLOB" and "vector" in column[1] + table:
                    found = found or (table, column[1])
        if found is None:
            self.skipTest("no vectors in a column of their own")
        table, column = found
        row, blob = db.execute(f"SELECT rowid, {column} FROM {table} WHERE length({column}) > 100").fetchone()
        broken = bytearray(blob)
        broken[50] ^= 1
        db.execute(f"UPDATE {table} SET {column} = ? WHERE rowid = ?", (bytes(broken), row))
        db.commit()
        db.close()
        result = self.run_u2i("verify", "shop.db", code=None)
        self.assertIn(result.code, (5, 1), result.out + result.err)
        self.assertNotEqual(result.out + result.err, "")

    def test_store_that_cannot_be_opened_for_damage_has_a_fault(self):
        with open(self.path("shop.db"), "r+b") as f:
            f.write(b"\xff" * 4096)
        for name in os.listdir(self.dir):
            if name.startswith("shop.db-"):
                os.unlink(self.path(name))
        result = self.run_u2i("verify", "shop.db", "--json", code=5)
        self.assertEqual(result.json["where"], "file")
        self.assertNotIn("run a verify", result.out + result.err)
        self.run_u2i("verify", "gone.db", code=3)

    def test_a_foreign_file_is_exit_code_1(self):
        self.write("foreign.db", "this is no database" * 100)
        self.assertIn("foreign.db", self.run_u2i("stats", "foreign.db", code=1).err)


class Export(common.Case):
    def setUp(self):
        super().setUp()
        self.make_shop()
        self.run_u2i("user", "shop.db", "set", "u1", "--interests", 'a "b", c\nd', "--attr", "n:=0.1",
                     "--decay", "0.9")
        self.run_u2i("item", "shop.db", "put", "odd", "--title", ' "x",\ty ', "--text", "l1\nl2\r\n",
                     "--attr", "q=\"'", "--attr", "n:=[1,2.5,true]")

    def copy(self, store, suffix):
        """Exports all of a store and imports it into a new one."""
        self.run_u2i("init", store)
        for kind in ("items", "users", "events"):
            name = kind + suffix
            self.run_u2i("export", "shop.db", kind, "-o", name)
            self.run_u2i("import", store, kind, name, "--max-errors", "0")

    def dump(self, store, kind):
        rows = [json.loads(line) for line in self.run_u2i("export", store, kind).lines]
        return sorted(rows, key=lambda r: json.dumps(r, sort_keys=True))

    def test_export_and_import_give_the_same_store(self):
        for i, suffix in enumerate((".jsonl", ".csv", ".jsonl.gz", ".csv.gz")):
            with self.subTest(suffix):
                store = f"copy{i}.db"
                self.copy(store, suffix)
                for kind in ("items", "users", "events"):
                    self.assertEqual(self.dump(store, kind), self.dump("shop.db", kind), kind)

    def test_vectors_come_back_to_the_last_bit(self):
        self.run_u2i("init", "v.db", "--dim", "3")
        self.run_u2i("import", "v.db", "items", "-",
                     stdin='{"id":"a","vector":[0.1,0.7,-3]}\n{"id":"b","vector":[1e-3,2,5]}\n')
        for name in ("v.jsonl", "v.csv"):
            self.run_u2i("export", "v.db", "items", "-o", name)
            self.run_u2i("init", name + ".db", "--dim", "3")
            self.run_u2i("import", name + ".db", "items", name)
            for got, given in zip(self.dump(name + ".db", "items"), self.dump("v.db", "items")):
                for x, y in zip(got["vector"], given["vector"]):
                    self.assertAlmostEqual(x, y, delta=1e-7)

    def test_gz_by_name_and_no_part_files_left(self):
        self.run_u2i("export", "shop.db", "events", "-o", "e.csv.gz")
        with gzip.open(self.path("e.csv.gz"), "rt") as f:
            self.assertEqual(f.readline(), "user,item,action,time_ms,value,id\n")
            self.assertEqual(len(f.readlines()), 5)
        self.assertEqual([f for f in os.listdir(self.dir) if f.endswith(".part")], [])

    def test_pipe_from_store_to_store(self):
        out = self.run_u2i("export", "shop.db", "items").out
        self.run_u2i("init", "b.db")
        self.run_u2i("import", "b.db", "items", "-", stdin=out)
        self.assertEqual(self.stats("b.db")["items"], 7)

    def test_store_is_never_overwritten(self):
        os.symlink("shop.db", self.path("soft"))
        os.symlink("shop.db-shm", self.path("dangling"))
        os.link(self.path("shop.db"), self.path("hard"))
        for name in ("shop.db", "./shop.db", self.path("shop.db"), "soft", "hard", "shop.db-wal", "shop.db-shm",
                     "dangling"):
            self.assertIn("the store itself", self.run_u2i("export", "shop.db", "items", "-o", name, code=2).err)
            self.run_u2i("export", "soft", "items", "-o", name, code=2)
        self.assertEqual(self.stats()["items"], 7)
        self.run_u2i("verify", "shop.db")

    def test_link_is_followed_and_device_and_pipe_are_written_to(self):
        wanted = self.run_u2i("export", "shop.db", "items").out
        os.mkdir(self.path("there"))
        os.symlink("there/x.jsonl", self.path("link"))
        for _ in range(2):  # a target that is not there yet, and one that is
            self.run_u2i("export", "shop.db", "items", "-o", "link")
            self.assertTrue(os.path.islink(self.path("link")))
            self.assertEqual(self.read("there/x.jsonl"), wanted)
        self.run_u2i("export", "shop.db", "items", "-o", "/dev/null")
        self.assertFalse(os.path.isfile("/dev/null"))
        self.assertEqual(self.run_u2i("export", "shop.db", "items", "-o", "/dev/stdout").out, wanted)
        os.mkfifo(self.path("fifo"))
        with subprocess.Popen(["cat", "fifo"], stdout=subprocess.PIPE, cwd=self.dir) as cat:
            self.run_u2i("export", "shop.db", "items", "-o", "fifo")
            self.assertEqual(cat.stdout.read().decode(), wanted)

    def test_file_that_was_there_keeps_its_mode_and_nothing_is_left_beside_it(self):
        self.write("x.jsonl", "old")
        self.write("x.jsonl.part", "mine")
        os.chmod(self.path("x.jsonl"), 0o640)
        self.run_u2i("export", "shop.db", "items", "-o", "x.jsonl")
        self.assertEqual(os.stat(self.path("x.jsonl")).st_mode & 0o777, 0o640)
        self.assertEqual(self.read("x.jsonl.part"), "mine")
        self.assertEqual([f for f in os.listdir(self.dir) if f.startswith(".u2i")], [])

    def test_output_that_cannot_be_written_is_an_error(self):
        self.assertIn("nosuch/x.jsonl", self.run_u2i("export", "shop.db", "items", "-o", "nosuch/x.jsonl", code=1).err)
        with open("/dev/full", "wb") as full:
            done = subprocess.run([common.U2I, "export", "shop.db", "items"], stdout=full,
                                  stderr=subprocess.PIPE, cwd=self.dir, env=self.env)
        self.assertEqual(done.returncode, 1)


if __name__ == "__main__":
    common.main()
