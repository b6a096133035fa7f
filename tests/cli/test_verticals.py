"""The walk-throughs of docs/verticals/ run, and show what they say; their data is what the generator makes."""
import filecmp
import os
import shutil
import subprocess
import sys

import common

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
EXAMPLES = os.path.join(ROOT, "examples", "verticals")


class Verticals(common.Case):
    def test_each_walk_through_runs_and_shows_what_it_says(self):
        presets = self.run_u2i("init", "--help").out.split("\nPresets\n")[1].split("\n\n")[0]
        for name in [line.split()[0] for line in presets.splitlines() if line[:3].strip()]:
            with self.subTest(name):
                done = subprocess.run([os.path.join(EXAMPLES, "run.sh"), name, common.U2I], capture_output=True,
                                      env=self.env, timeout=600)
                self.assertEqual(done.returncode, 0, done.stdout.decode()[-3000:] + done.stderr.decode())

    def test_a_promise_that_does_not_hold_is_told(self):
        self.assertEqual(subprocess.run([os.path.join(EXAMPLES, "run.sh"), "nosuch", common.U2I],
                                        capture_output=True, env=self.env, timeout=60).returncode, 1)

    def test_the_data_is_what_the_generator_makes(self):
        shutil.copy(os.path.join(EXAMPLES, "make.py"), self.path("make.py"))
        subprocess.run([sys.executable, self.path("make.py")], check=True, timeout=60)
        for name in ("ecommerce", "content", "recruitment", "dating"):
            for file in ("items.csv", "users.csv", "events.csv"):
                self.assertTrue(filecmp.cmp(self.path(os.path.join(name, file)), os.path.join(EXAMPLES, name, file),
                                            shallow=False), f"{name}/{file}")


if __name__ == "__main__":
    common.main()
