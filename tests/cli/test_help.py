"""Help, completions, man page, and what a mistyped command line is told."""
import re
import shutil
import subprocess

import common


class Help(common.Case):
    def commands(self):
        text = self.run_u2i("help").out
        listed = text.split("Commands\n")[1].split("\n\n")[0]
        return [line.split()[0] for line in listed.splitlines() if re.match(r"  \S", line)]

    def test_every_command_of_the_manual_is_there(self):
        promised = ("init import events recommend similar popular search user item stats config "
                    "delete verify index export record").split()
        self.assertLessEqual(set(promised), set(self.commands()))

    def test_help_of_each_command_shows_options_defaults_examples_and_exit_codes(self):
        for command in self.commands():
            with self.subTest(command):
                result = self.run_u2i(command, "--help")
                self.assertIn("\nOptions\n", result.out)
                self.assertIn("--help", result.out)
                self.assertIn("\nExit codes\n", result.out)
                self.assertRegex(result.out, r"\nExamples\n(  .*u2i .*\n      .+\n)+")
                self.assertEqual(result.err, "")
                self.assertEqual(self.run_u2i("help", command).out, result.out)
                self.assertTrue(all(len(line) <= 100 for line in result.lines), result.out)

    def test_examples_in_help_parse(self):
        """An example that the parser refuses would teach something wrong."""
        for command in self.commands():
            text = self.run_u2i(command, "--help").out.split("\nExamples\n")[1]
            for line in re.findall(r"^  (u2i [^\n]*)$", text, re.M):
                options = set(re.findall(r"(?<![\w-])--[a-z-]+", line.split("|")[0]))
                known = set(re.findall(r"(?<![\w-])--[a-z-]+", self.run_u2i(
                    line.split()[1], "--help").out.split("\nOptions\n")[1].split("\nExamples")[0]))
                self.assertLessEqual(options, known, line)

    def test_a_limit_shows_its_default(self):
        self.assertRegex(self.run_u2i("recommend", "--help").out, r"--limit N .*\(default 10\)")

    def test_without_arguments_the_overview_goes_to_stderr(self):
        result = self.run_u2i(code=2)
        self.assertIn("First steps", result.err)
        self.assertEqual(result.out, "")

    def test_version(self):
        self.assertRegex(self.run_u2i("--version").out, r"^u2i \d+\.\d+\.\d+")
        self.assertIn("program", self.run_u2i("version", "--json").json)


class Mistakes(common.Case):
    def refused(self, *args, code=2):
        result = self.run_u2i(*args, code=code)
        self.assertRegex(result.err, r"^u2i: ")
        self.assertEqual(result.out, "")
        return result.err

    def test_mistyped_command_gets_a_suggestion(self):
        self.assertIn("did you mean 'recommend'?", self.refused("recomend", "shop.db", "u1"))
        self.assertIn("did you mean 'import'?", self.refused("improt"))
        self.assertIn("did you mean 'recommend'?", self.refused("recom"))
        self.assertNotIn("did you mean", self.refused("xyzzy"))

    def test_mistyped_option_gets_a_suggestion(self):
        self.assertIn("did you mean --limit?", self.refused("recommend", "x.db", "u", "--limt", "5"))
        self.assertIn("did you mean --filter?", self.refused("popular", "x.db", "--filtr=a"))

    def test_mistyped_choice_gets_a_suggestion(self):
        self.assertIn("did you mean 'items'?", self.refused("import", "x.db", "item", "a.csv"))

    def test_exchanged_store_and_kind_are_put_right(self):
        self.assertIn("u2i import x.db items", self.refused("import", "items", "x.db", "a.csv"))

    def test_missing_and_surplus_arguments_are_named(self):
        self.assertIn("USER", self.refused("recommend", "x.db"))
        self.assertIn("'more'", self.refused("recommend", "x.db", "u1", "more"))

    def test_values_out_of_range_are_named(self):
        self.assertIn("--limit 5000", self.refused("popular", "x.db", "--limit", "5000"))
        self.assertIn("--limit -1", self.refused("popular", "x.db", "--limit", "-1"))
        self.assertIn("--limit 1x", self.refused("popular", "x.db", "-n1x"))
        self.assertIn("needs a value", self.refused("popular", "x.db", "--limit"))
        self.assertIn("takes no value", self.refused("popular", "x.db", "--json=yes"))

    def test_a_missing_store_is_exit_code_3_and_says_how_to_make_one(self):
        self.assertIn("u2i init nope.db", self.refused("stats", "nope.db", code=3))

    def test_at_stands_for_the_store_of_the_environment(self):
        self.assertIn("U2I_STORE", self.refused("stats", "@"))
        self.make_shop()
        self.assertEqual(self.run_u2i("stats", "@", "--json", env={"U2I_STORE": "shop.db"}).json["items"], 6)

    def test_two_dashes_end_options(self):
        self.make_shop()
        self.run_u2i("record", "shop.db", "--", "-odd-", "b1", "view")
        self.assertEqual(self.run_u2i("events", "shop.db", "--json", "--", "-odd-").json["item"], "b1")


class Generated(common.Case):
    def test_bash_completion_is_bash_and_completes(self):
        script = self.run_u2i("completion", "bash").out
        self.write("u2i.bash", script)
        subprocess.run(["bash", "-n", self.path("u2i.bash")], check=True)

        def complete(*words):
            line = " ".join(f"'{w}'" for w in words)
            done = subprocess.run(
                ["bash", "-c", f"source u2i.bash; COMP_WORDS=({line}); COMP_CWORD={len(words) - 1}; "
                               "_u2i; printf '%s\\n' \"${COMPREPLY[@]}\""],
                cwd=self.dir, capture_output=True, check=True)
            return done.stdout.decode().split()

        self.assertEqual(set(complete("u2i", "reco")), {"recommend", "record"})
        self.assertIn("--exclude-from", complete("u2i", "recommend", "x.db", "--excl"))
        self.assertEqual(complete("u2i", "import", "x.db", "items", "--format", "j"), ["jsonl"])
        self.assertIn("events", complete("u2i", "import", "x.db", "ev"))

    def test_zsh_and_fish_completions_name_every_command(self):
        for shell in ("zsh", "fish"):
            script = self.run_u2i("completion", shell).out
            for command in ("recommend", "import", "export"):
                self.assertIn(command, script)
            if shutil.which(shell):
                self.write("script", script)
                subprocess.run([shell, "-n", self.path("script")], check=True)

    def test_unknown_shell_is_refused(self):
        self.assertIn("bash|zsh|fish", self.run_u2i("completion", "tcsh", code=2).err)

    def test_man_page_has_no_warnings(self):
        page = self.run_u2i("man").out
        self.assertIn(".SS u2i recommend", page)
        if not shutil.which("man"):
            self.skipTest("man is not installed")
        self.write("u2i.1", page)
        done = subprocess.run(["man", "--warnings", "-l", self.path("u2i.1")], capture_output=True,
                              env={**self.env, "LC_ALL": "C.UTF-8", "MANWIDTH": "80"})
        if done.returncode != 0 and b"unknown option" in done.stderr:
            self.skipTest("another man")
        self.assertEqual(done.stderr.decode(), "")
        self.assertIn("EXIT STATUS", done.stdout.decode())


if __name__ == "__main__":
    common.main()
