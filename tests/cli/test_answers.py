"""recommend, similar, popular, search: options, tables for people, JSON for programs."""
import json
import subprocess
import unicodedata

import common


def columns_of(line):
    """How many terminal columns a line takes."""
    return sum(0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1
               for c in line)


class Answers(common.Case):
    def setUp(self):
        super().setUp()
        self.make_shop()

    def ids(self, *args):
        return [hit["id"] for hit in self.run_u2i(*args, "--json").jsonl]

    def test_recommend_leaves_out_what_was_seen_unless_asked(self):
        self.assertNotIn("b1", self.ids("recommend", "shop.db", "u1"))
        self.assertIn("b1", self.ids("recommend", "shop.db", "u1", "--keep-seen"))

    def test_a_reader_of_space_opera_gets_space_opera(self):
        hits = self.run_u2i("recommend", "shop.db", "u1", "--json").jsonl
        self.assertIn(hits[0]["id"], ("b2", "f2"))
        self.assertEqual(hits[0]["because"]["id"], "b1")
        self.assertEqual(hits[0]["because"]["action"], "like")
        self.assertEqual([h["rank"] for h in hits], list(range(1, len(hits) + 1)))

    def test_reason_is_a_sentence(self):
        self.assertIn("because you liked Dune", self.run_u2i("recommend", "shop.db", "u1").out)
        self.assertIn("popular", self.run_u2i("recommend", "shop.db", "stranger").out)
        self.assertNotIn("because", self.run_u2i("recommend", "shop.db", "u1", "--no-reasons").out)

    def test_filter_with_typed_parameters(self):
        self.assertEqual(set(self.ids("popular", "shop.db", "--filter", "category == {c} and price < {max}",
                                      "--param", "c=book", "--param", "max:=10")), {"b1", "b3"})
        self.assertEqual(set(self.ids("popular", "shop.db", "-f", "price in {p}", "-p", "p:=[7,9.5]")),
                         {"b1", "b3"})
        self.assertEqual(self.ids("popular", "shop.db", "-f", "category == {c}",
                                  "-p", 'c=" or 1 == 1'), [])

    def test_parameter_of_no_use_is_explained(self):
        for param in ("novalue", "x:={}", "x:=[]", 'x:=[1,"a"]', ":=1"):
            self.assertIn("--param", self.run_u2i("popular", "shop.db", "-p", param, code=2).err)

    def test_wrong_filter_shows_a_mark_under_the_place(self):
        result = self.run_u2i("recommend", "shop.db", "u1", "--filter", 'price > and 3', code=2)
        lines = result.err.splitlines()
        self.assertEqual(lines[1], "  price > and 3")
        self.assertEqual(lines[2], " " * (2 + len("price > ")) + "^")

    def test_the_mark_counts_columns_not_bytes(self):
        result = self.run_u2i("popular", "shop.db", "--filter", 'category == "ゲーム" & price', code=2)
        lines = result.err.splitlines()
        before = lines[1][2:].split("&")[0]
        self.assertEqual(len(lines[2]) - 1, 2 + columns_of(before))

    def test_exclusions_from_options_and_a_file(self):
        self.write("ids.txt", "b2\r\nb4\n\nnosuch\n")
        got = self.ids("popular", "shop.db", "--exclude", "b1", "-x", "f1", "--exclude-from", "ids.txt")
        self.assertEqual(set(got), {"b3", "f2"})

    def test_limit(self):
        self.assertEqual(len(self.ids("popular", "shop.db", "-n", "2")), 2)
        self.assertEqual(len(self.ids("popular", "shop.db", "-n3")), 3)
        self.assertEqual(len(self.ids("popular", "shop.db", "--limit=1")), 1)

    def test_interests_stand_in_for_a_history(self):
        hits = self.run_u2i("recommend", "shop.db", "stranger", "-i", "romance in a village", "--json").jsonl
        self.assertEqual(hits[0]["id"], "b3")
        self.assertEqual(hits[0]["source"], "interests")

    def test_similar(self):
        self.assertEqual(self.ids("similar", "shop.db", "--item", "b3")[0], "b4")
        self.assertNotIn("b4", self.ids("similar", "shop.db", "--item", "b3", "--for", "u2"))
        self.assertIn("u3", self.ids("similar", "shop.db", "--user", "u1"))
        self.run_u2i("similar", "shop.db", "--item", "nosuch", code=3)
        self.assertIn("one of them", self.run_u2i("similar", "shop.db", code=2).err)

    def test_search_by_text_and_from_stdin(self):
        self.assertIn(self.ids("search", "shop.db", "space opera")[0], ("b1", "b2", "f2"))
        self.assertEqual(self.run_u2i("search", "shop.db", "-", "--json", stdin="カービィ").jsonl[0]["id"], "f1")
        self.assertIn("one of them", self.run_u2i("search", "shop.db", code=2).err)

    def test_search_by_a_vector_of_the_wrong_length_is_refused(self):
        self.assertIn("2 numbers", self.run_u2i("search", "shop.db", "--vector", "[1,2]", code=2).err)
        self.assertIn("finite", self.run_u2i("search", "shop.db", "--vector", "[1,x]", code=2).err)

    def test_nothing_found_is_no_error(self):
        result = self.run_u2i("popular", "shop.db", "-f", "price > 1000")
        self.assertEqual((result.out, result.err), ("", "u2i: note: nothing found\n"))
        self.assertEqual(self.run_u2i("popular", "shop.db", "-f", "price > 1000", "--json").out, "")


class Tables(common.Case):
    def setUp(self):
        super().setUp()
        self.make_shop()

    def test_columns_line_up_with_wide_characters(self):
        lines = self.run_u2i("popular", "shop.db").lines
        wanted = columns_of(lines[0].split("category")[0])
        for line in lines[1:]:
            for category in ("book", "ゲーム", "film"):
                if "  " + category in line:
                    at = line.rindex("  " + category) + 2
                    self.assertEqual(columns_of(line[:at]), wanted, line)

    def test_lines_fit_the_width_and_cuts_are_shown(self):
        for width in (40, 50, 60, 80):
            result = self.run_u2i("recommend", "shop.db", "u1", env={"COLUMNS": str(width)})
            for line in result.lines:
                self.assertLessEqual(columns_of(line), max(width, 45), line)
        self.assertIn("…", self.run_u2i("recommend", "shop.db", "u1", env={"COLUMNS": "50"}).out)

    def test_a_pipe_gets_everything_without_colours(self):
        result = self.run_u2i("recommend", "shop.db", "u1", env={"TERM": "xterm"})
        self.assertNotIn("…", result.out)
        self.assertNotIn("\x1b", result.out)

    def test_control_characters_never_come_out_raw(self):
        title = "\x1b]0;owned\x07 \x9b31m\u202eevil\r\n\tx"
        self.run_u2i("import", "shop.db", "items", "-", stdin=json.dumps({"id": "evil\x1b", "title": title}))
        for args in (["popular", "shop.db", "-n", "50"], ["popular", "shop.db", "-n", "50", "--json"],
                     ["item", "shop.db", "show", "evil\x1b"], ["item", "shop.db", "show", "no\x1b[1m", "--json"],
                     ["similar", "shop.db", "--item", "gone\x9b1m"], ["popular", "shop.db", "-f", "x\x1b["]):
            result = self.run_u2i(*args, code=None)
            for text in (result.out, result.err):
                self.assertFalse(any(unicodedata.category(c) == "Cc" and c != "\n" for c in text), repr(text))
                if "--json" not in args:
                    self.assertNotIn("\u202e", text)

    def test_closed_pipe_or_full_disk_is_an_error(self):
        with open("/dev/full", "wb") as full:
            done = subprocess.run([common.U2I, "popular", "shop.db"], stdout=full, stderr=subprocess.PIPE,
                                  cwd=self.dir, env=self.env)
        self.assertEqual(done.returncode, 1)
        self.assertIn(b"cannot write the output", done.stderr)


if __name__ == "__main__":
    common.main()
