"""Importing: formats, columns, types, bad rows, ids, interruption."""
import gzip
import os
import pty
import signal
import subprocess
import threading
import time

import common


class Import(common.Case):
    def setUp(self):
        super().setUp()
        self.run_u2i("init", "shop.db")

    def imp(self, kind, data, *args, name=None, code=0):
        """Imports `data` from stdin, or from a file of that name; the report as JSON."""
        if name:
            self.write(name, data)
            return self.run_u2i("import", "shop.db", kind, name, "--json", *args, code=code)
        return self.run_u2i("import", "shop.db", kind, "-", "--json", *args, stdin=data, code=code)

    def item(self, item_id):
        return self.run_u2i("item", "shop.db", "show", item_id, "--json").json

    def events(self, user):
        return self.run_u2i("events", "shop.db", user, "--json").jsonl


class Formats(Import):
    def test_csv_of_rfc_4180_with_bom_crlf_quotes_and_line_breaks(self):
        self.imp("items", b'\xef\xbb\xbfid,title,text,category\r\n'
                          b'1,"A ""quoted"", thing","two\r\nlines",book\r\n'
                          b'2,5" disk,,\r\n', name="items.csv")
        self.assertEqual(self.item("1")["title"], 'A "quoted", thing')
        self.assertEqual(self.item("1")["text"], "two\r\nlines")
        self.assertEqual(self.item("2")["title"], '5" disk')

    def test_tsv_semicolons_and_other_delimiters(self):
        self.imp("items", "id\ttitle\n1\tTab\n", name="a.tsv")
        self.imp("items", "id;title\n2;Semi, colon\n", name="b.csv")
        self.imp("items", "id#title\n3#Hash\n", "--delimiter", "#")
        self.assertEqual([self.item(i)["title"] for i in "123"], ["Tab", "Semi, colon", "Hash"])

    def test_jsonl_and_further_keys_as_attributes(self):
        self.imp("items", '{"id":7,"title":"Seven","attrs":{"a":1,"price":2},"price":3.5,'
                          '"tags":["x"],"none":null}\r\n\n{"id":"8"}')
        self.assertEqual(self.item("7")["attrs"], {"a": 1, "price": 3.5, "tags": ["x"]})

    def test_gzip_is_told_by_content(self):
        self.imp("items", gzip.compress(b"id,title\n1,Packed\n"), name="items.csv")
        self.imp("items", gzip.compress(b'{"id":"2","title":"Piped"}\n'))
        self.assertEqual([self.item(i)["title"] for i in "12"], ["Packed", "Piped"])

    def test_gzip_of_several_streams(self):
        self.imp("items", gzip.compress(b"id,title\n1,One\n") + gzip.compress(b"2,Two\n"))
        self.assertEqual(self.item("2")["title"], "Two")

    def test_cut_gzip_is_an_error_after_what_could_be_read(self):
        rows = "".join(f"{i},title {os.urandom(8).hex()}\n" for i in range(20000))
        data = gzip.compress(("id,title\n" + rows).encode())
        result = self.imp("items", data[:len(data) // 2], name="cut.csv.gz", code=1)
        self.assertIn("ends in the middle", result.err)
        self.assertGreater(self.stats()["items"], 1000)

    def test_file_without_header(self):
        self.imp("items", "1,One\n2,Two\n", "--columns", "id,title")
        self.assertEqual(self.item("1")["title"], "One")

    def test_utf16_and_folders_are_refused_with_what_to_do(self):
        result = self.imp("items", "id,title\n".encode("utf-16"), code=1)
        self.assertIn("iconv", result.err)
        os.mkdir(self.path("folder"))
        self.assertIn("folder", self.run_u2i("import", "shop.db", "items", "folder", code=1).err)

    def test_empty_file_and_missing_file(self):
        self.assertIn("empty", self.imp("items", "", name="none.csv", code=1).err)
        self.assertIn("No such file", self.run_u2i("import", "shop.db", "items", "gone.csv", code=1).err)

    def test_vectors(self):
        self.run_u2i("init", "vectors.db", "--dim", "3")
        self.write("v.jsonl", '{"id":"a","vector":[1,0,0]}\n{"id":"b","vector":[0,1]}\n'
                              '{"id":"c","vector":[0,0,0]}\n')
        result = self.run_u2i("import", "vectors.db", "items", "v.jsonl", "--json")
        self.assertEqual((result.json["new"], result.json["bad"]), (1, 2))
        self.assertIn("v.jsonl:2: vector: 2 numbers, but the store's vectors have 3", result.err)
        self.assertIn("v.jsonl:3:", result.err)
        self.run_u2i("import", "vectors.db", "items", "-", stdin='id,vector\nd,"[0, 1, 0]"\ne,0 0 1\n')
        hits = self.run_u2i("search", "vectors.db", "--vector", "[0,1,0.1]", "--json").jsonl
        self.assertEqual([h["id"] for h in hits], ["d", "e", "a"])

    def test_vectors_for_a_store_of_texts_are_refused_with_what_to_do(self):
        self.assertIn("--ignore vector", self.imp("items", "id,vector\n1,[1]\n", code=1).err)
        self.imp("items", "id,vector\n1,[1]\n", "--ignore", "vector")


class Columns(Import):
    def test_map_attr_types_and_lists(self):
        self.imp("items", "movieId,name,genres,year,ok,code\n1,Heat,Action|Crime,1995,true,007\n",
                 "--map", "id=movieId", "-m", "title=name", "--attr", "genres:list",
                 "--attr", "released=year:number", "-a", "ok", "-a", "code")
        item = self.item("1")
        self.assertEqual(item["title"], "Heat")
        self.assertEqual(item["attrs"], {"genres": ["Action", "Crime"], "released": 1995, "ok": True,
                                         "code": "007"})

    def test_attrs_rest_infers_one_type_for_a_column(self):
        self.imp("items", 'id,price,size,tags,empty\n1,9.50,10,"[""a""]",\n2,,XL,[],\n', "--attrs-rest")
        self.assertEqual(self.item("1")["attrs"], {"price": 9.5, "size": "10", "tags": ["a"]})
        self.assertEqual(self.item("2")["attrs"], {"size": "XL", "tags": []})

    def test_value_that_does_not_fit_the_column_is_a_bad_row(self):
        result = self.imp("items", "id,price\n1,9\n2,cheap\n", "--attr", "price:number")
        self.assertIn("stdin:3: column price: 'cheap' is not a number", result.err)
        self.assertEqual(result.json["bad"], 1)

    def test_unused_columns_are_named(self):
        self.assertIn("not used: colour", self.imp("items", "id,colour\n1,red\n").err)
        self.assertEqual(self.imp("items", "id,colour\n1,red\n", "--ignore", "colour").err, "")

    def test_missing_columns_are_named_with_those_that_are_there(self):
        result = self.imp("events", "userId,movieId\n1,2\n", code=1)
        self.assertIn("no column for user; it has userId, movieId", result.err)
        self.assertIn("--action view", self.imp("events", "user,item\n1,2\n", code=1).err)

    def test_unknown_field_and_type_are_refused(self):
        self.assertIn("the fields are id, title", self.imp("items", "id\n", "-m", "nam=x", code=2).err)
        self.assertIn("no type 'int'", self.imp("items", "id\n", "-a", "x:int", code=2).err)

    def test_column_twice_is_refused(self):
        self.assertIn("there twice", self.imp("items", "id,id\n1,2\n", code=1).err)


class BadRows(Import):
    ROWS = ('id,title\n1,ok\n2,too,many\n3,"x"y\n,no id\n' + "x" * 200 + ",long id\n6,\xff\n7,fine\n")

    def test_bad_rows_are_reported_with_line_and_reason_and_left_out(self):
        result = self.imp("items", self.ROWS.encode("latin-1"), name="bad.csv")
        self.assertEqual((result.json["new"], result.json["bad"]), (2, 5))
        for wanted in ("bad.csv:3: 3 fields, but the header has 2", "bad.csv:4: text after",
                       "bad.csv:5: no id", "bad.csv:6: ", "bad.csv:7: column title: not valid UTF-8"):
            self.assertIn(wanted, result.err)

    def test_line_numbers_count_lines_inside_quotes(self):
        result = self.imp("items", 'id,title\n1,"a\nb\nc"\n2\n', name="q.csv")
        self.assertIn("q.csv:5: 1 fields", result.err)

    def test_max_errors_stops_with_exit_code_4_and_keeps_what_came_before(self):
        result = self.imp("items", "id,title\n1,ok\n2\n3,later\n", "--max-errors", "0", code=4)
        self.assertIn("stopped at stdin:3", result.err)
        self.assertEqual(self.stats()["items"], 1)

    def test_rows_that_only_the_library_refuses_also_have_their_line(self):
        self.imp("items", "id,title\ni1,One\n")
        result = self.imp("events", "user,item,action\nu1,i1,view\nu1,gone,view\nu2,i1,juggle\nu2,i1,view\n")
        self.assertEqual((result.json["new"], result.json["bad"]), (2, 2))
        self.assertIn("stdin:3: ", result.err)
        self.assertIn("gone", result.err)
        self.assertIn("stdin:4: ", result.err)

    def test_first_ten_are_shown_and_all_are_written_to_a_file(self):
        result = self.imp("items", "id,title\n" + "x\n" * 30, "--errors", "errors.txt", code=4)
        self.assertEqual(result.err.count("1 fields"), 10)
        self.assertIn("30 bad rows; all are in errors.txt", result.err)
        self.assertEqual(len(self.read("errors.txt").splitlines()), 30)

    def test_errors_file_may_be_neither_store_nor_input(self):
        self.write("a.csv", "id,title\n1,One\n")
        os.link(self.path("a.csv"), self.path("link.csv"))
        os.symlink("shop.db", self.path("store-link"))
        before = self.stats()["items"]
        for name in ("a.csv", "./a.csv", "link.csv", "shop.db", "store-link", "shop.db-wal"):
            result = self.run_u2i("import", "shop.db", "items", "a.csv", "--errors", name, code=2)
            self.assertIn(name, result.err)
        self.assertEqual(self.read("a.csv"), "id,title\n1,One\n")
        self.assertEqual(self.stats()["items"], before)

    def test_errors_file_is_not_emptied_by_an_import_that_cannot_begin(self):
        self.write("errors.txt", "of yesterday")
        self.run_u2i("import", "shop.db", "items", "gone.csv", "--errors", "errors.txt", code=1)
        self.run_u2i("import", "gone.db", "items", "errors.txt", "--errors", "errors.txt", code=3)
        self.assertEqual(self.read("errors.txt"), "of yesterday")

    def test_import_without_a_good_row_is_exit_code_4(self):
        self.imp("items", "id,title\n1\n2\n", code=4)
        self.imp("items", "id,title\n1\n2,Two\n")
        self.imp("items", "id,title\n")

    def test_max_errors_0_stops_once_and_at_the_first_bad_row(self):
        self.imp("items", "id,title\ni1,One\n")
        result = self.imp("events", "user,item,action\nu,i1,view\nu,gone,view\nu,i1\n",
                          "--max-errors", "0", code=4)
        self.assertEqual(result.err.count("stopped at"), 1)
        self.assertIn("stopped at stdin:3", result.err)
        self.assertNotIn("entry ", result.err)

    def test_hostile_files_end_with_an_error_not_a_crash(self):
        for data in (b"\x00" * 5000, b'"' * 5000, b"id\n" + b"[" * 5000, os.urandom(5000), b"\x1f\x8b",
                     b"\x1f\x8b\x08\x00garbage", b"id,title\n1,\"" + b"x" * 3000000,
                     b"id" + b",c" * 3000 + b"\n", b"{" * 3000000, b"[[[\n" * 50):
            result = self.run_u2i("import", "shop.db", "items", "-", stdin=data, code=None)
            self.assertIn(result.code, (0, 1, 4), result.err)
        self.run_u2i("verify", "shop.db")


class Events(Import):
    def setUp(self):
        super().setUp()
        self.imp("items", "id,title\ni1,One\ni2,Two\ni3,Three\n")

    def test_units_of_time(self):
        self.imp("events", "user,item,action,timestamp\n"
                           "u,i1,view,1704103200\nu,i1,view,1704103200500\nu,i1,view,1704103201.25\n"
                           "u,i1,view,2024-01-01T10:00:02Z\nu,i1,view,2024-01-01 12:00:03.5+02:00\n"
                           "u,i1,view,2024-01-02\n")
        times = sorted(e["time_ms"] for e in self.events("u"))
        self.assertEqual(times, [1704103200000, 1704103200500, 1704103201250, 1704103202000,
                                 1704103203500, 1704153600000])

    def test_time_unit_by_flag_and_by_column_name(self):
        self.imp("events", "user,item,action,time\nu,i1,view,86400000\n", "--time-unit", "ms")
        self.imp("events", '{"user":"v","item":"i1","action":"view","time_ms":1000}\n')
        self.assertEqual(self.events("u")[0]["time_ms"], 86400000)
        self.assertEqual(self.events("v")[0]["time_ms"], 1000)

    def test_wrong_times_and_values_are_bad_rows(self):
        result = self.imp("events", "user,item,action,timestamp,value\nu,i1,view,,\nu,i1,view,2024-02-30,\n"
                                    "u,i1,view,-5,\nu,i1,view,5,-1\nu,i1,view,5,x\nu,i1,view,5,nan\n"
                                    "u,i1,view,5,0\nu,i1,view,99999999999999999999,\n", code=4)
        self.assertEqual((result.json["new"], result.json["bad"]), (0, 8))

    def test_value_is_kept_and_can_be_ignored(self):
        data = "user,item,action,value\nu,i1,view,4.5\n"
        self.imp("events", data)
        self.imp("events", data.replace("u,", "v,"), "--no-value")
        self.assertEqual(self.events("u")[0]["value"], 4.5)
        self.assertEqual(self.events("v")[0]["value"], 1)

    def test_actions_are_mapped_and_filled_in(self):
        self.imp("events", "user,item,action\nu,i1,return\nu,i2,\n", "--map-action", "return=dislike",
                 "--action", "view")
        self.assertEqual({e["item"]: e["action"] for e in self.events("u")},
                         {"i1": "dislike", "i2": "view"})

    def test_importing_twice_adds_nothing(self):
        data = "user,item,action,timestamp\nu,i1,view,100\nu,i1,view,100\nu,i2,view,300\n"
        self.assertEqual(self.imp("events", data, name="e.csv").json["new"], 3)
        again = self.imp("events", data, name="e.csv").json
        self.assertEqual((again["new"], again["already_there"]), (0, 3))

    def test_lines_added_at_the_end_are_all_that_is_new(self):
        data = "user,item,action,timestamp\nu,i1,view,100\n"
        self.imp("events", data, name="log.csv")
        grown = self.imp("events", data + "u,i2,view,200\n", name="log.csv").json
        self.assertEqual((grown["new"], grown["already_there"]), (1, 1))

    def test_no_ids_counts_twice(self):
        data = "user,item,action,timestamp\nu,i1,view,100\n"
        for _ in range(2):
            self.assertEqual(self.imp("events", data, "--no-ids").json["new"], 1)

    def test_own_event_ids_are_used(self):
        self.imp("events", "user,item,action,event_id\nu,i1,view,a\nu,i2,view,b\n")
        again = self.imp("events", '{"user":"u","item":"i3","action":"view","id":"a"}\n').json
        self.assertEqual(again["new"], 0)

    def test_from_line_skips_what_is_done(self):
        data = "user,item,action,timestamp\nu,i1,view,100\nu,i2,view,200\n"
        self.assertEqual(self.imp("events", data, "--from-line", "3").json["read"], 1)

    def test_interrupted_import_goes_on_without_counting_twice(self):
        rows = 60000
        data = ("user,item,action,timestamp\n" + "".join(
            f"user{i % 97},i{i % 3 + 1},view,{1600000000 + i}\n" for i in range(rows))).encode()
        child = subprocess.Popen([common.U2I, "import", "shop.db", "events", "-", "--batch", "1000"],
                                 stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                 cwd=self.dir, env=self.env)

        def feed():
            try:
                child.stdin.write(data[:-5000])
                child.stdin.flush()  # and leave it open: the program waits for more
            except BrokenPipeError:
                pass
        feeder = threading.Thread(target=feed)
        feeder.start()
        for _ in range(600):
            time.sleep(0.05)
            if self.stats()["events"] > 5000:
                break
        child.send_signal(signal.SIGINT)
        child.wait(60)
        feeder.join()
        err = child.stderr.read().decode()
        for stream in (child.stdout, child.stderr):
            stream.close()
        try:
            child.stdin.close()
        except BrokenPipeError:
            pass
        self.assertEqual(child.returncode, 130, err)
        self.assertIn("interrupted in stdin after line ", err)
        done = int(err.split("after line ")[1].split(";")[0])
        before = self.stats()["events"]
        self.assertEqual(before, done - 1)  # less the header: the message tells the truth
        report = self.imp("events", data).json
        self.assertEqual((report["new"], report["already_there"]), (rows - before, before))
        self.assertEqual(self.stats()["events"], rows)


    def test_signal_while_waiting_for_a_pipe_keeps_the_rows_that_came(self):
        os.mkfifo(self.path("fifo"))
        for number in (signal.SIGTERM, signal.SIGINT):
            for name in ("-", "fifo"):
                user = f"{number}{name}"
                child = subprocess.Popen([common.U2I, "import", "shop.db", "events", name],
                                         stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                         stderr=subprocess.PIPE, cwd=self.dir, env=self.env)
                pipe = child.stdin if name == "-" else open(self.path(name), "wb")
                pipe.write(f"user,item,action\n{user},i1,view\n{user},i2,view\n{user},i".encode())
                pipe.flush()
                time.sleep(1)
                child.send_signal(number)
                child.wait(60)
                err = child.stderr.read().decode()
                pipe.close()
                for stream in (child.stdin, child.stdout, child.stderr):
                    stream.close()
                self.assertEqual(child.returncode, 130, err)
                self.assertIn("after line 3", err)
                self.assertEqual(len(self.events(user)), 2)

    def test_signal_while_waiting_for_a_writer(self):
        os.mkfifo(self.path("fifo"))
        child = subprocess.Popen([common.U2I, "import", "shop.db", "events", "fifo"], cwd=self.dir,
                                 env=self.env, stderr=subprocess.DEVNULL)
        time.sleep(1)
        child.send_signal(signal.SIGTERM)
        self.assertEqual(child.wait(60), 130)


class Reports(Import):
    def test_items_are_upserts_and_the_last_of_two_wins(self):
        report = self.imp("items", "id,title\n1,Old\n2,Two\n1,New\n").json
        self.assertEqual((report["read"], report["new"], report["replaced"]), (3, 2, 1))
        self.assertEqual(self.item("1")["title"], "New")

    def test_report_for_people(self):
        self.write("a.csv", "id,title\n1,x\n")
        out = self.run_u2i("import", "shop.db", "items", "a.csv").out
        self.assertRegex(out, r"^a\.csv: 1 rows read, 1 new, 0 replaced, 0 bad; [\d.]+ s, [\d,]+ rows/s\n$")

    def test_no_progress_bar_where_there_is_no_terminal(self):
        self.assertNotIn("\r", self.imp("items", "id,title\n1,x\n").err)

    def test_progress_bar_on_a_terminal_and_gone_at_the_end(self):
        self.write("many.csv", "id,title\n" + "".join(f"{i},title {i}\n" for i in range(40000)))
        main, side = pty.openpty()
        child = subprocess.Popen([common.U2I, "import", "shop.db", "items", "many.csv", "--no-index"],
                                 cwd=self.dir,
                                 env=self.env, stdout=subprocess.DEVNULL, stderr=side)
        os.close(side)
        shown = b""
        while True:
            try:
                got = os.read(main, 4096)
            except OSError:  # the end of a terminal
                break
            if not got:
                break
            shown += got
        os.close(main)
        self.assertEqual(child.wait(), 0)
        self.assertRegex(shown.decode(), r"many\.csv  \[#*\.*\] +\d+ %  [\d,]+ rows  [\d,]+/s")
        self.assertTrue(shown.endswith(b"\r\x1b[K"), shown[-100:])

    def test_many_files_at_once(self):
        self.write("a.csv", "id,title\n1,x\n")
        self.write("b.jsonl", '{"id":"2"}\n')
        reports = self.run_u2i("import", "shop.db", "items", "a.csv", "b.jsonl", "--json").jsonl
        self.assertEqual([r["file"] for r in reports], ["a.csv", "b.jsonl"])

    def test_users(self):
        self.imp("users", 'id,interests,attrs,decay,city\nu1,"maps, hiking","{""age"":31}",0.9,Bern\nu2,,,,\n'
                          "u3,,,1.5,\n", "--attrs-rest")
        user = self.run_u2i("user", "shop.db", "show", "u1", "--json").json
        self.assertEqual(user, {"id": "u1", "interests": "maps, hiking",
                                "attrs": {"age": 31, "city": "Bern"}, "decay": 0.9})
        self.assertEqual(self.stats()["users"], 2)


if __name__ == "__main__":
    common.main()
