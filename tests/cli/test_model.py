"""u2i model: folders that get names, downloads that are resumed and checked, and what is refused."""
import json
import os
import signal
import subprocess
import time
import unittest

import common
import hub

NAME = "org/small"


class Models(common.Case):
    def setUp(self):
        super().setUp()
        self.env = {name: value for name, value in self.env.items()
                    if name not in ("HF_TOKEN", "HF_ENDPOINT")}
        self.env["U2I_MODELS"] = self.path("home")

    def folder(self, name, files=None):
        for path, data in (files or hub.model_files()).items():
            os.makedirs(os.path.dirname(self.path(os.path.join(name, path))), exist_ok=True)
            self.write(os.path.join(name, path), data)
        return "./" + name

    def home(self):
        """What is in the home, with what begins with a dot."""
        return sorted(os.listdir(self.path("home"))) if os.path.isdir(self.path("home")) else []

    def names(self):
        return [model["name"] for model in self.run_u2i("model", "list", "--json").jsonl]

    def files_of(self, name):
        top = self.path(os.path.join("home", name))
        return sorted(os.path.relpath(os.path.join(where, file), top)
                      for where, _, files in os.walk(top) for file in files)


class Folders(Models):
    def test_a_folder_gets_a_name_and_is_listed(self):
        self.folder("tiny")
        done = self.run_u2i("model", "add", "tiny").out
        self.assertIn("u2i init STORE --model tiny", done)
        listed = self.run_u2i("model", "list", "--json").jsonl
        self.assertEqual([m["name"] for m in listed], ["tiny"])
        self.assertEqual(listed[0]["path"], os.path.realpath(self.path("home/tiny")))
        self.assertEqual(listed[0]["bytes"], sum(len(f) for f in hub.model_files().values()))
        self.assertIn("tiny", self.run_u2i("model", "list").out)
        self.assertEqual(self.home(), ["tiny"])

    def test_without_models_list_says_how_to_get_one(self):
        self.assertIn("u2i model get", self.run_u2i("model", "list").out)
        self.assertEqual(self.run_u2i("model", "list", "--json").out, "")

    def test_the_home_is_where_the_environment_says(self):
        self.folder("tiny")
        del self.env["U2I_MODELS"]
        self.run_u2i("model", "add", "tiny", env={"XDG_DATA_HOME": self.path("data"), "HOME": "/nowhere"})
        self.assertTrue(os.path.isfile(self.path("data/u2i/models/tiny/config.json")))
        self.run_u2i("model", "add", "tiny", env={"XDG_DATA_HOME": "", "HOME": self.path("me")})
        self.assertTrue(os.path.isfile(self.path("me/.local/share/u2i/models/tiny/config.json")))

    def test_only_what_matters_is_copied_and_links_become_files(self):
        self.folder("real")
        self.folder("linked", {**hub.model_files(), "pytorch_model.bin": b"pickle", "onnx/model.onnx": b"x"})
        os.unlink(self.path("linked/model.safetensors"))
        os.symlink("../real/model.safetensors", self.path("linked/model.safetensors"))
        self.run_u2i("model", "add", "linked")
        self.assertEqual(self.files_of("linked"), sorted(hub.model_files()))
        self.assertFalse(os.path.islink(self.path("home/linked/model.safetensors")))

    def test_the_same_model_may_be_added_again_another_one_not(self):
        self.folder("tiny")
        self.run_u2i("model", "add", "tiny")
        self.run_u2i("model", "add", "tiny")
        self.folder("tiny", {**hub.model_files(), "model.safetensors": hub.weights(2)})
        refused = self.run_u2i("model", "add", "tiny", code=2).err
        self.assertIn("is there already", refused)
        self.run_u2i("model", "add", "tiny", "--as", "tiny-2")
        self.assertEqual(self.names(), ["tiny", "tiny-2"])
        self.assertEqual(self.home(), ["tiny", "tiny-2"])

    def test_names_are_names(self):
        self.folder("tiny")
        for name in "../x", "a/b/c", ".hidden", "a b", "", "x" * 97:
            with self.subTest(name):
                self.assertIn("name", self.run_u2i("model", "add", "tiny", "--as", name, code=2).err)
        self.assertEqual(self.home(), [])

    def test_shards_come_with_their_index(self):
        files = hub.model_files()
        whole = {}
        files.pop("model.safetensors")
        hub.weights(change=whole.update)
        names = sorted(whole)
        shards = {"model-00001-of-00002.safetensors": names[::2], "model-00002-of-00002.safetensors": names[1::2]}
        for shard, part in shards.items():
            files[shard] = hub.safetensors({name: whole[name] for name in part})
        files["model.safetensors.index.json"] = json.dumps(
            {"weight_map": {name: shard for shard, part in shards.items() for name in part}}).encode()
        self.folder("sharded", files)
        self.run_u2i("model", "add", "sharded")
        self.run_u2i("model", "add", "sharded")
        self.assertEqual(self.files_of("sharded"), sorted(files))
        self.run_u2i("model", "check", "sharded")

    def test_check_says_what_a_model_is(self):
        self.folder("tiny")
        told = self.run_u2i("model", "check", "./tiny", "--json").json
        shown = self.run_u2i("model", "check", "./tiny").out
        for part in "2 layers, vectors of 8", "16 tokens", "more than 24", "mean", "F32", told["precision"]:
            self.assertIn(part, shown)
        self.assertRegex(told["model"], r"^tiny-[0-9a-f]{8}$")
        self.assertEqual((told["dim"], told["layers"], told["vocabulary"], told["tokens_max"]), (8, 2, 16, 24))
        self.assertIn(told["precision"], ("int8", "f32"))

    def test_check_knows_names_too(self):
        self.folder("tiny")
        self.run_u2i("model", "add", "tiny", "--as", "other")
        self.assertRegex(self.run_u2i("model", "check", "other", "--json").json["model"], "^other-")
        self.run_u2i("model", "check", "org/other")
        self.assertIn("no model", self.run_u2i("model", "check", "tiny", code=3).err)
        self.assertIn("does not exist", self.run_u2i("model", "check", "./nothing", code=3).err)

    def test_what_cannot_be_loaded_is_refused_with_file_and_field(self):
        def infinite(tensors):
            tensors["embeddings.word_embeddings.weight"][1][77] = float("inf")

        def not_a_number(tensors):
            tensors["encoder.layer.1.output.dense.weight"][1][3] = float("nan")

        good = hub.model_files()
        cases = {
            "model_type": hub.model_files(model_type="t5"),
            "hidden_act": hub.model_files(hidden_act="relu"),
            "word_embeddings": {**good, "model.safetensors": hub.weights(change=infinite)},
            "encoder.layer.1.output.dense": {**good, "model.safetensors": hub.weights(change=not_a_number)},
            "key.weight is missing": {**good, "model.safetensors": hub.weights(
                change=lambda t: t.pop("encoder.layer.0.attention.self.key.weight"))},
            "model.safetensors": {**good, "model.safetensors": good["model.safetensors"][:-1]},
            "config.json": {**good, "config.json": b"{"}}
        for i, (said, files) in enumerate(cases.items()):
            with self.subTest(said):
                folder = self.folder(f"bad{i}", files)
                self.assertIn(said, self.run_u2i("model", "check", folder, code=1).err)
                self.assertIn(said, self.run_u2i("model", "add", folder, code=1).err)
        self.assertEqual(self.home(), [])

    def test_bench_shows_both_precisions(self):
        self.folder("tiny")
        told = self.run_u2i("model", "bench", "./tiny", "--json", env={"TMPDIR": self.dir}).jsonl
        self.assertEqual([line["precision"] for line in told], ["f32", "int8"])
        for line in told:
            self.assertGreater(line["titles_per_s"], 0)
            self.assertGreater(line["query_ms"], 0)
        self.assertEqual(os.listdir(self.dir), ["tiny"])

    def test_options_of_other_words_are_refused(self):
        for line in (["list", "x"], ["add"], ["get"], ["check", "./x", "--as", "y"],
                     ["add", "./x", "--revision", "y"], ["list", "--endpoint", "http://x"]):
            with self.subTest(line):
                self.run_u2i("model", *line, code=2)


class Downloads(Models):
    def setUp(self):
        super().setUp()
        self.hub = hub.Hub({NAME: hub.model_files()})
        self.addCleanup(self.hub.close)

    def get(self, *args, code=0, env=None):
        return self.run_u2i("model", "get", NAME, "--endpoint", self.hub.url, *args, code=code, env=env)

    def refused(self, said, code=1):
        result = self.get(code=code)
        self.assertIn(said, result.err)
        self.assertEqual(self.names(), [])
        return result.err

    def test_a_model_arrives_whole_and_is_called_by_its_last_name(self):
        done = self.get()
        self.assertIn("u2i init STORE --model small", done.out)
        self.assertEqual(self.names(), ["small"])
        self.assertEqual(self.files_of("small"), sorted(hub.model_files()))
        for path, data in hub.model_files().items():
            with open(self.path("home/small/" + path), "rb") as f:
                self.assertEqual(f.read(), data)
        self.assertEqual(self.home(), ["small"])
        self.run_u2i("model", "check", "small")

    def test_only_the_files_that_matter_are_fetched(self):
        self.hub.models[NAME].update({"pytorch_model.bin": b"pickle", "onnx/model.onnx": b"x", "tf_model.h5": b"y"})
        self.get()
        self.assertEqual(self.files_of("small"), sorted(hub.model_files()))
        self.assertEqual(self.hub.asked_for("pytorch_model.bin"), [])

    def test_torchs_file_is_fetched_where_there_is_no_safetensors(self):
        golden = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "golden", "torch_tiny.bin")
        files = hub.model_files(hidden_size=8, num_hidden_layers=2, intermediate_size=16, vocab_size=11,
                                max_position_embeddings=12)
        del files["model.safetensors"]
        with open(golden, "rb") as f:
            files["pytorch_model.bin"] = f.read()
        files["vocab.txt"] = b"[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\nred\ngreen\nblue\nround\nsquare\nthing\n"
        files["1_Pooling/config.json"] = b'{"word_embedding_dimension": 8, "pooling_mode_mean_tokens": true}'
        files["sentence_bert_config.json"] = b'{"max_seq_length": 12, "do_lower_case": false}'
        self.hub.models[NAME] = files
        self.get()
        self.assertIn("pytorch_model.bin", self.files_of("small"))
        self.run_u2i("model", "check", "small")

    def test_another_name_and_the_same_again(self):
        self.get("--as", "mine")
        asked = len(self.hub.asked)
        self.assertIn("was there already", self.get("--as", "mine").out)
        self.assertEqual(len(self.hub.asked), asked + 1)
        self.hub.models[NAME]["model.safetensors"] = hub.weights(2)
        self.assertIn("is there already", self.get("--as", "mine", code=2).err)
        self.assertEqual(self.names(), ["mine"])

    def test_the_endpoint_may_come_from_the_environment(self):
        self.run_u2i("model", "get", NAME, env={"HF_ENDPOINT": self.hub.url + "/"})
        self.assertEqual(self.names(), ["small"])
        for url in "ftp://x", "huggingface.co", "http://x/?a=b":
            self.run_u2i("model", "get", NAME, "--endpoint", url, code=2)

    def test_what_was_cut_off_goes_on_where_it_was(self):
        self.hub.cuts["model.safetensors"] = [1000, 500]
        self.get()
        ranges = [asked.get("Range") for asked in self.hub.asked_for("model.safetensors")]
        self.assertEqual(ranges, [None, "bytes=1000-", "bytes=1500-"])

    def test_a_server_that_ignores_ranges_sends_all_again(self):
        self.hub.ignores_range = True
        self.hub.cuts["model.safetensors"] = [1000]
        self.get()
        self.assertEqual(self.names(), ["small"])

    def test_a_later_run_goes_on_too(self):
        self.hub.cuts["model.safetensors"] = [1000]
        self.hub.statuses["model.safetensors"] = []
        cut = self.hub.cuts["model.safetensors"]
        statuses = self.hub.statuses["model.safetensors"]

        class Once(list):  # the second request fails for good
            def pop(self, at):
                statuses.append((403, {}))
                return list.pop(self, at)
        self.hub.cuts["model.safetensors"] = Once(cut)
        self.refused("answered 403")
        self.assertEqual(self.home(), [".get-small"])
        configs = len(self.hub.asked_for("config.json"))
        self.get()
        self.assertEqual(self.hub.asked_for("model.safetensors")[-1]["Range"], "bytes=1000-")
        self.assertEqual(len(self.hub.asked_for("config.json")), configs)
        self.assertEqual(self.home(), ["small"])

    def test_what_is_there_is_not_believed(self):
        """Parts of an earlier run that were spoilt meanwhile are fetched again."""
        data = hub.model_files()["model.safetensors"]
        sums = {entry["path"]: entry.get("lfs", entry)["oid"]
                for entry in (hub.entry(path, data) for path, data in hub.model_files().items())}
        os.makedirs(self.path("home/.get-small/small"))
        self.write(f"home/.get-small/{sums['model.safetensors']}.part", b"?" + data[1:900])
        self.write(f"home/.get-small/{sums['vocab.txt']}.part", b"?" * 5000)
        self.write("home/.get-small/small/config.json", b"?" * len(hub.model_files()["config.json"]))
        self.write("home/.get-small/small/model-00001-of-00002.safetensors", b"of another list")
        self.get()
        self.assertEqual(self.files_of("small"), sorted(hub.model_files()))
        self.run_u2i("model", "check", "small")

    def test_interrupted_keeps_what_has_arrived(self):
        self.hub.drip = "model.safetensors"
        process = subprocess.Popen([common.U2I, "model", "get", NAME, "--endpoint", self.hub.url], cwd=self.dir,
                                   env=self.env, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        self.wait_until(lambda: self.parts() > 300)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
        self.assertEqual(process.returncode, 130, err)
        self.assertIn(b"the same command goes on", err)
        self.assertEqual(self.names(), [])
        self.hub.drip = None
        self.get()
        self.assertRegex(self.hub.asked_for("model.safetensors")[-1]["Range"], r"^bytes=[1-9]\d\d+-$")

    def test_killed_keeps_what_has_arrived(self):
        self.hub.drip = "model.safetensors"
        process = subprocess.Popen([common.U2I, "model", "get", NAME, "--endpoint", self.hub.url], cwd=self.dir,
                                   env=self.env)
        self.wait_until(lambda: self.parts() > 300)
        busy = self.run_u2i("model", "get", NAME, "--endpoint", self.hub.url, code=6)
        self.assertIn("another process", busy.err)
        process.kill()
        process.wait()
        self.assertEqual(self.names(), [])
        self.hub.drip = None
        self.get()
        self.assertRegex(self.hub.asked_for("model.safetensors")[-1]["Range"], r"^bytes=[1-9]\d\d+-$")

    def parts(self):
        """Bytes of the largest file that is not whole yet."""
        place = self.path("home/.get-small")
        names = os.listdir(place) if os.path.isdir(place) else []
        return max((os.path.getsize(os.path.join(place, name)) for name in names if name.endswith(".part")),
                   default=0)

    def wait_until(self, holds):
        for _ in range(600):
            if holds():
                return
            time.sleep(.05)
        self.fail("it did not come so far in 30 s")

    def test_wrong_bytes_are_refused(self):
        data = hub.model_files()["model.safetensors"]
        self.hub.instead = {"vocab.txt": hub.model_files()["vocab.txt"].replace(b"red", b"rad")}
        self.refused("SHA-1 is wrong")
        self.hub.instead = {"model.safetensors": data[:-1] + bytes([data[-1] ^ 1])}
        self.refused("SHA-256 is wrong")
        self.hub.instead = {}
        self.get()

    def test_a_wrong_size_is_refused(self):
        data = hub.model_files()["model.safetensors"]
        for other in data + b"x", data[:-1]:
            self.hub.instead["model.safetensors"] = other
            self.assertIn("its list says", self.refused(str(len(other))))

    def test_busy_servers_are_asked_again_but_not_for_ever(self):
        self.hub.statuses["vocab.txt"] = [(503, {"Retry-After": "1"}), (429, {})]
        self.get("--as", "first")
        self.assertEqual(len(self.hub.asked_for("vocab.txt")), 3)
        self.hub.statuses["vocab.txt"] = [(503, {"Retry-After": "3600"})]
        err = self.get("--as", "second", code=1).err
        self.assertIn("vocab.txt", err)
        self.assertIn("503", err)

    def test_a_file_elsewhere_is_fetched_without_the_token(self):
        other = hub.Hub(self.hub.models)
        self.addCleanup(other.close)
        self.hub.elsewhere = other.url.replace("127.0.0.1", "localhost")
        self.get(env={"HF_TOKEN": "hf_secret"})
        self.assertEqual({headers.get("Authorization") for _, headers in self.hub.asked}, {"Bearer hf_secret"})
        self.assertEqual({headers.get("Authorization") for _, headers in other.asked}, {None})

    def test_the_token_is_in_no_message(self):
        self.hub.statuses["config.json"] = [(403, {})]
        err = self.get(code=1, env={"HF_TOKEN": "hf_secret_token"}).err
        self.assertNotIn("hf_secret", err)
        self.get(code=2, env={"HF_TOKEN": "hf secret"})

    def test_what_is_not_there_is_named(self):
        self.assertIn("other/none", self.run_u2i("model", "get", "other/none", "--endpoint", self.hub.url,
                                                 code=3).err)
        self.assertIn("revision v9", self.get("--revision", "v9", code=3).err)
        self.assertEqual(self.home(), [])

    def test_lists_that_no_hub_sends_are_refused(self):
        good = [hub.entry(path, data) for path, data in hub.model_files().items()]

        def with_path(path):
            return json.dumps(good + [{**good[0], "path": path}])

        cases = {"path": [with_path(p) for p in ("../x", "/etc/passwd", "a/../../b", "a\\b", "a//b", "a/", "./a",
                                                 "a\nb", "x" * 300)],
                 "there already": [json.dumps(good + [good[0]])],
                 "size": [json.dumps([{**e, "size": -1} for e in good if "lfs" not in e]),
                          json.dumps([{**good[0], "size": "12"}])],
                 "checksum": [json.dumps([{**good[0], "oid": "zz"}]), json.dumps([{**good[0], "oid": None}])],
                 "GiB": [json.dumps([{**e, **({"lfs": {**e["lfs"], "size": 1 << 40}} if "lfs" in e else {})}
                                     for e in good])],
                 "bytes, over": [json.dumps([{**good[0], "size": 1 << 30}, *good[1:]])],
                 "the list of files": ["{}", "[", "[1]", "<html>", ""]}
        for said, lists in cases.items():
            for text in lists:
                with self.subTest(text[-100:]):
                    self.hub.lists[NAME] = text.encode()
                    self.refused(said)
        self.assertEqual(self.home(), [])

    def test_a_list_in_several_pages_is_refused(self):
        self.hub.list_headers = {"Link": '<http://x/?cursor=1>; rel="next"'}
        self.refused("more files than one list")

    def test_models_that_u2i_cannot_load_are_refused_before_a_byte_is_fetched(self):
        files = self.hub.models[NAME]
        weights = files.pop("model.safetensors")
        files["tf_model.h5"] = b"x"
        self.refused("neither model.safetensors nor pytorch_model.bin")
        files["model.safetensors"] = weights
        del files["config.json"]
        self.refused("no config.json")
        self.assertEqual(len(self.hub.asked), 2)

    def test_a_whole_model_that_is_none_leaves_nothing(self):
        self.hub.models[NAME] = hub.model_files(model_type="t5")
        self.refused("model_type")
        self.assertEqual(self.home(), [])

    def test_names_that_lead_elsewhere_are_refused(self):
        for name in "../x", "a/b/c", "/x", "a/..", ".", "a b/c", "":
            with self.subTest(name):
                self.run_u2i("model", "get", name, "--endpoint", self.hub.url, code=2)
        self.assertEqual(self.hub.asked, [])


if __name__ == "__main__":
    unittest.main()
