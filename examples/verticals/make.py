#!/usr/bin/env python3
"""Makes the data of the four walk-throughs (docs/verticals/): items.csv, users.csv and events.csv of each.

Nothing in them is real: people, shops and texts are put together from lists of words below, by a generator with a
fixed seed, so that they are the same each time. usage: examples/verticals/make.py  (writes beside itself)
"""
import csv
import datetime
import os
import random

HERE = os.path.dirname(os.path.abspath(__file__))
NOW = datetime.datetime(2025, 3, 1, 12, tzinfo=datetime.timezone.utc)  # the moment of the walk-throughs


def before(days):
    return (NOW - datetime.timedelta(days=days)).strftime("%Y-%m-%dT%H:%M:%SZ")


def unix(days):
    return int((NOW - datetime.timedelta(days=days)).timestamp())


def write(vertical, name, rows):
    folder = os.path.join(HERE, vertical)
    os.makedirs(folder, exist_ok=True)
    columns = list(dict.fromkeys(c for row in rows for c in row))
    with open(os.path.join(folder, name), "w", newline="", encoding="utf-8") as f:
        out = csv.DictWriter(f, columns, restval="", lineterminator="\n")
        out.writeheader()
        out.writerows(rows)


def events_of(r, items, people, kinds, actions, days=60, each=7):
    """People like one kind, now and then something else; the actions are drawn evenly."""
    rows = []
    for n, person in enumerate(people):
        mine = [i for i in items if i["id"].split("-")[0] == kinds[n % len(kinds)]]
        for _ in range(each):
            item = r.choice(mine if r.random() < 0.85 else items)
            rows.append({"user": person, "item": item["id"], "action": r.choice(actions),
                         "timestamp": before(r.uniform(1, days))})
    return sorted(rows, key=lambda row: row["timestamp"])


def done(*rows):
    return [{"user": u, "item": i, "action": a, "timestamp": before(d)} for u, a, i, d in rows]


# ---- A shop ----

def ecommerce():
    r = random.Random(1)
    kinds = {"coffee": (["Sidamo", "Huila", "Antigua", "Mogiana", "Yirgacheffe"], ["whole bean", "ground", "dark roast"], 12),
             "tea": (["Assam", "Sencha", "Darjeeling", "Oolong", "Earl Grey"], ["loose leaf", "bags", "first flush"], 8),
             "lamp": (["desk lamp", "floor lamp", "reading lamp", "garden lamp", "table lamp"], ["brass", "oak", "black steel"], 60),
             "pan": (["frying pan", "saucepan", "wok", "roasting tin", "stock pot"], ["cast iron", "copper", "steel"], 45),
             "shirt": (["linen shirt", "oxford shirt", "polo shirt", "flannel shirt", "work shirt"], ["white", "blue", "green"], 35)}
    brands = ["Northwind", "Northwind", "Northwind", "Larch", "Peak & Son", "Ojo"]
    items = []
    for kind, (names, sorts, price) in kinds.items():
        for n, name in enumerate(names):
            for s, sort in enumerate(sorts):
                row = {"id": f"{kind}-{n * 3 + s + 1:02d}", "title": f"{name[0].upper()}{name[1:]}, {sort}",
                       "category": kind, "text": f"{kind} {name} {sort}", "brand": r.choice(brands),
                       "price": round(price * r.uniform(0.7, 1.4), 2), "stock": r.randint(1, 40),
                       "consumable": "true" if kind in ("coffee", "tea") else "false"}
                if kind == "shirt":  # the colours are variants of one shirt
                    row["group"] = f"shirt {n + 1}"
                items.append(row)
    items.append({"id": "lamp-99", "title": "Chandelier, gold", "category": "lamp", "text": "lamp chandelier gold",
                  "brand": "Ojo", "price": 2400, "stock": 1, "consumable": "false"})
    items.append({"id": "coffee-99", "title": "Kona, whole bean", "category": "coffee", "text": "coffee Kona whole bean",
                  "brand": "Larch", "price": 14, "stock": 0, "consumable": "true"})
    people = [f"c{n:03d}" for n in range(100)]
    events = events_of(r, items[:-2], people, list(kinds), ["view", "click", "add_cart", "purchase", "purchase"])
    events += done(("ann", "purchase", "coffee-01", 45), ("ann", "purchase", "coffee-04", 10), ("ann", "view", "tea-01", 3),
                   ("ann", "like", "tea-05", 2), ("bob", "purchase", "lamp-01", 20), ("bob", "add_cart", "lamp-05", 4),
                   ("bob", "view", "shirt-01", 5))
    write("ecommerce", "items.csv", items)
    write("ecommerce", "users.csv", [{"id": "ann", "interests": "coffee"}, {"id": "bob", "interests": "lamps"},
                                     {"id": "new", "interests": "cast iron pan, copper saucepan"}])
    write("ecommerce", "events.csv", events)


# ---- News ----

def content():
    r = random.Random(2)
    topics = {"chess": ["opening", "endgame", "world championship", "blindfold", "club evening"],
              "football": ["cup final", "transfer", "injury time", "women's league", "stadium"],
              "cooking": ["sourdough", "one-pot dinner", "summer salad", "knife skills", "stock"],
              "space": ["moon landing", "comet", "telescope", "rocket test", "Mars rover"]}
    authors = {"chess": ["Ida", "Paul"], "football": ["Rosa", "Tom"], "cooking": ["Lin", "Max"], "space": ["Ada", "Neil"]}
    items = []
    for topic, subjects in topics.items():
        for n in range(20):
            subject, author = subjects[n % 5], authors[topic][n % 2]
            items.append({"id": f"{topic}-{n + 1:02d}", "title": f"{subject[0].upper()}{subject[1:]}: part {n // 5 + 1}",
                          "category": topic, "text": f"{topic} {subject}", "topic": topic, "author": author,
                          "publish_at": unix(n * 0.7 + 0.2)})
    items.append({"id": "chess-99", "title": "Embargoed: the match is fixed", "category": "chess", "text": "chess world championship",
                  "topic": "chess", "author": "Ida", "publish_at": unix(-1)})
    items.append({"id": "chess-98", "title": "Tonight only: live commentary", "category": "chess", "text": "chess world championship live",
                  "topic": "chess", "author": "Paul", "publish_at": unix(0.5), "expire_at": unix(-0.25)})
    people = [f"r{n:03d}" for n in range(100)]
    events = events_of(r, items[:-2], people, list(topics), ["view", "read", "read", "dwell", "share"], days=14)
    for row in events:
        row["value"] = round(r.uniform(0.2, 6), 1) if row["action"] == "dwell" else ""
    events += done(("ann", "read", "chess-03", 2), ("ann", "impression", "chess-01", 0.3), ("ann", "impression", "chess-01", 0.2))
    events += [{"user": "ann", "item": "chess-05", "action": "dwell", "timestamp": before(1), "value": 7},
               {"user": "ann", "item": "football-02", "action": "dwell", "timestamp": before(1), "value": 0.1}]
    write("content", "items.csv", items)
    write("content", "users.csv", [{"id": "ann", "muted_authors": ""}, {"id": "bob", "muted_authors": "Tom|Max"}])
    write("content", "events.csv", events)


# ---- Jobs ----

def recruitment():
    r = random.Random(3)
    trades = {"nurse": ("Nurse", ["intensive care", "children", "night shift"], ["first aid", "wound care", "ICU"]),
              "dev": ("Software developer", ["databases", "embedded C", "web"], ["sql", "c", "python"]),
              "welder": ("Welder", ["ships", "pipelines", "bridges"], ["TIG", "MIG", "plan reading"]),
              "teacher": ("Teacher", ["maths", "music", "primary school"], ["maths", "music", "english"])}
    employers = {"nurse": ["clinic", "hospice"], "dev": ["softworks", "datahouse"], "welder": ["shipyard", "steelco"],
                 "teacher": ["school1", "school2"]}
    places = [("Bonn", "DE"), ("Ulm", "DE"), ("Lyon", "FR"), ("Rome", "IT")]
    items, users, people = [], [], []
    for trade, (title, fields, skills) in trades.items():
        for n in range(16):
            place, country = places[n % 4]
            items.append({"id": f"{trade}-{n + 1:02d}", "kind": "job", "title": f"{title}, {fields[n % 3]}, {place}",
                          "category": trade, "text": f"{title} {fields[n % 3]}", "place": place, "country": country,
                          "remote": "true" if trade == "dev" and n % 3 == 0 else "false",
                          "visa_sponsored": "true" if n % 4 == 2 else "false", "salary_max": 30000 + 1500 * n,
                          "language": {"DE": "de", "FR": "fr", "IT": "it"}[country], "employer": employers[trade][n % 2],
                          "requirements": "|".join(r.sample(skills, 2)), "expires": unix(-60)})
        for n in range(20):
            person = f"{trade}er{n + 1:02d}"
            people.append(person)
            cv = f"{title}, {n % 9 + 1} years of {fields[n % 3]}"
            items.append({"id": person, "kind": "candidate", "title": cv, "text": cv})
            users.append({"id": person, "interests": cv, "skills": "|".join(r.sample(skills, 2)), "places": places[n % 4][0]})
    items.append({"id": "dev-98", "kind": "job", "title": "Software developer, filled yesterday, Bonn", "category": "dev",
                  "text": "Software developer embedded C", "place": "Bonn", "country": "DE", "remote": "true",
                  "visa_sponsored": "false", "salary_max": 90000, "language": "de", "employer": "softworks",
                  "requirements": "c|sql", "expires": unix(-60), "filled": "true"})
    cv = "Software developer, 6 years of embedded C and databases"
    items.append({"id": "ann", "kind": "candidate", "title": cv, "text": cv})
    users.append({"id": "ann", "interests": cv, "skills": "c|sql", "places": "Bonn|Ulm", "salary_min": 40000,
                  "languages": "de|en", "work_permits": "DE", "gender": "f", "age": 54})
    jobs = [i for i in items if i["kind"] == "job" and i["id"] != "dev-98"]
    events = events_of(r, jobs, [p for k in range(20) for p in people[k::20]], list(trades), ["view", "save", "apply", "apply"])
    for trade, firms in employers.items():
        for f, firm in enumerate(firms):
            users.append({"id": firm, "seeks": "candidate"})
            # Of two employers the first invites those of the trade, the second people of another one.
            wanted = trade if f == 0 else {"dev": "teacher"}.get(trade, trade)
            for n in r.sample(range(1, 21), 6):
                events += done((firm, "invite", f"{wanted}er{n:02d}", r.uniform(1, 40)))
    events += done(("ann", "save", "dev-05", 3), ("ann", "view", "dev-02", 2))
    write("recruitment", "items.csv", items)
    write("recruitment", "users.csv", users)
    write("recruitment", "events.csv", events)


# ---- People ----

def dating():
    r = random.Random(4)
    hobbies = {"hiker": "mountains, tents, long walks, maps", "cook": "cooking, markets, wine, old recipes",
               "gamer": "board games, chess, quiz nights, computers", "dancer": "tango, salsa, music, late nights"}
    items, people = [], []
    for kind, text in hobbies.items():
        for n in range(24):
            gender = "fm"[n % 2]
            seeks = {"f": "m", "m": "f"}[gender] if n % 6 else gender
            age = 25 + n % 12
            person = f"{kind}-{n + 1:02d}"
            people.append(person)
            items.append({"id": person, "title": f"{kind.capitalize()} {n + 1}, {age}", "text": text, "gender": gender,
                          "seeks": seeks, "age": age, "age_min": age - 6, "age_max": age + 6,
                          "place": ["Bonn", "Bonn", "Ulm"][n % 3], "active": "true"})
    ann = {"id": "ann", "title": "Ann, 30", "text": "cooking, wine, markets, some tango", "gender": "f", "seeks": "m", "age": 30,
           "age_min": 27, "age_max": 36, "place": "Bonn", "active": "true"}
    items.append(ann)
    kinds = list(hobbies)
    events = []
    for n, person in enumerate(people):
        me = items[n]
        for _ in range(8):
            kind = me["id"].split("-")[0] if r.random() < 0.85 else r.choice(kinds)
            other = r.choice([i for i in items[:-1] if i["id"].startswith(kind) and i["gender"] == me["seeks"] and i is not me])
            events += done((person, r.choice(["like", "like", "message", "view", "pass"]), other["id"], r.uniform(1, 60)))
    events = sorted(events, key=lambda row: row["timestamp"])
    events += done(("ann", "like", "cook-04", 5), ("ann", "message", "cook-10", 4), ("ann", "pass", "cook-16", 10),
                   ("cook-08", "like", "ann", 3))
    users = [{**i, "places": "Bonn|Ulm" if i["id"] != "ann" else "Bonn"} for i in items]
    for user in users:
        for column in ("title", "text", "place", "active"):
            del user[column]
    write("dating", "items.csv", items)
    write("dating", "users.csv", users)
    write("dating", "events.csv", events)


if __name__ == "__main__":
    ecommerce()
    content()
    recruitment()
    dating()
