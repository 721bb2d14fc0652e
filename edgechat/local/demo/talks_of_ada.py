"""What Ada talked about, whose conversations a visitor of the demo sees first."""

from __future__ import annotations

from edgechat.local.demo.talks import Talk, Task, Turn

ADAS = (
    Talk(
        "Receipt from the hardware shop",
        3,
        (
            Turn(
                "How much did I spend on paint? I need it for the expense report.",
                "The receipt lists two items of paint:\n\n"
                "| Item | Price |\n|---|---:|\n| Wall paint, white, 5 l | 34.90 |\n| Primer, 1 l | 12.50 |\n"
                "| **Together** | **47.40** |\n\nThe brushes (8.20) and the tape (3.60) are not paint, "
                "so I left them out.",
                picture=True,
                rating="up",
            ),
            Turn(
                "And with everything?",
                "All four items are **59.20**: 34.90 + 12.50 + 8.20 + 3.60. That is also the total on the receipt.",
            ),
        ),
    ),
    Talk(
        "Retry with backoff in Python",
        7,
        (
            Turn(
                "Write a small Python decorator that retries a function with exponential backoff and jitter.",
                "This one retries the errors that you name, and waits twice as long each time:\n\n"
                "```python\nimport functools\nimport random\nimport time\n\n\n"
                "def retry(*errors, attempts=5, first=0.2, longest=10.0):\n"
                "    def decorate(function):\n"
                "        @functools.wraps(function)\n"
                "        def wrapped(*args, **kwargs):\n"
                "            for attempt in range(attempts):\n"
                "                try:\n"
                "                    return function(*args, **kwargs)\n"
                "                except errors:\n"
                "                    if attempt == attempts - 1:\n"
                "                        raise\n"
                "                limit = min(longest, first * 2**attempt)\n"
                "                time.sleep(random.uniform(0, limit))\n\n"
                "        return wrapped\n\n"
                "    return decorate\n```\n\n"
                "The wait is random between 0 and the limit (*full jitter*), so that many clients do not come back "
                "at the same moment.",
                earlier=(
                    "You can use a loop with `time.sleep(2 ** attempt)` around the call, and catch the exception.",
                ),
                rating="up",
                comment="The explanation of the jitter helped.",
            ),
            Turn(
                "How do I test it without waiting?",
                "Let the test replace `time.sleep`, and look at what it was given:\n\n"
                "```python\ndef test_the_wait_grows(monkeypatch):\n    waits = []\n"
                '    monkeypatch.setattr("time.sleep", waits.append)\n'
                '    monkeypatch.setattr("random.uniform", lambda low, high: high)\n'
                "    calls = iter([OSError, OSError, None])\n\n"
                "    @retry(OSError)\n    def fetch():\n        if error := next(calls):\n            raise error\n"
                '        return "done"\n\n'
                '    assert fetch() == "done"\n    assert waits == [0.2, 0.4]\n```',
            ),
        ),
        pinned=True,
    ),
    Talk(
        "Notes of the launch meeting",
        26,
        (
            Turn(
                "Summarize my notes: We launch on the 14th. Bruno checks the translations until Friday. Chiara "
                "asks the printer for a quote, two sizes. Nobody has tested the sign-up on old phones yet. Esra "
                "books the room for the rehearsal.",
                "**Launch on the 14th.** Open points:\n\n"
                "1. *Bruno* checks the translations until Friday.\n"
                "2. *Chiara* asks the printer for a quote for two sizes.\n"
                "3. *Esra* books the room for the rehearsal.\n"
                "4. **Nobody yet:** test the sign-up on old phones.\n\n"
                "> The last point has no owner. It is also the one that can move the date.",
                rating="up",
            ),
        ),
        pinned=True,
        shared=True,
        tasks=(
            Task("Find somebody to test the sign-up on old phones", "Before the 14th; it has no owner yet."),
            Task("Ask Bruno for the checked translations", "On Friday."),
            Task("Get the printer's quote from Chiara", "Two sizes."),
            Task("Confirm the room for the rehearsal with Esra", completed=True),
        ),
    ),
    Talk(
        "A slow query in PostgreSQL",
        31,
        (
            Turn(
                "This takes 4 seconds on 2 million orders:\n\n```sql\nSELECT * FROM orders\n WHERE customer_id = 42\n"
                " ORDER BY created_at DESC\n LIMIT 20;\n```\n\nThere is an index on customer_id.",
                "PostgreSQL finds all orders of the customer, sorts them, and keeps 20. An index over both columns "
                "gives them in the right order at once:\n\n"
                "```sql\nCREATE INDEX CONCURRENTLY orders_customer_created\n    ON orders "
                "(customer_id, created_at DESC);\n```\n\n"
                "- `CONCURRENTLY` does not block writes while it builds.\n"
                "- Afterwards the index on `customer_id` alone is no longer needed.\n"
                "- `EXPLAIN (ANALYZE, BUFFERS)` should show an *Index Scan* that stops after 20 rows.",
                rating="up",
            ),
            Turn(
                "It takes 0.4 ms now, thank you!", "Good to hear! Remember to drop the old index once nothing uses it."
            ),
        ),
    ),
    Talk(
        "Three days in Lisbon",
        52,
        (
            Turn(
                "Plan three days in Lisbon in November, with a child of six. Not too many museums.",
                "### Day 1: the old town\n- Tram 28 early, before it is full\n- Castle of São Jorge, with peacocks\n"
                "- Pastéis in Alfama\n\n### Day 2: Belém\n- The tower and the monastery *from outside*\n"
                "- The maritime museum: real barges, an hour is enough\n- The park with the ducks\n\n"
                "### Day 3: by the water\n- Oceanário: plan three hours\n- The cable car along the river\n\n"
                "In November there are showers, so swap days 1 and 3 if it rains.",
                earlier=("Day 1: Alfama and the castle. Day 2: Belém with tower and three museums. Day 3: Sintra.",),
            ),
            Turn(
                "What should we pack?",
                "15 °C at noon, 10 °C in the evening, some rain:\n\n- [ ] light rain jackets\n- [ ] shoes with grip: "
                "the pavement is smooth when it is wet\n- [ ] a layer for the evening\n- [ ] a small backpack",
            ),
        ),
        tasks=(Task("Buy tickets for the Oceanário"), Task("Pack rain jackets", completed=True)),
    ),
    Talk(
        "Tone of the newsletter",
        75,
        (
            Turn(
                "We are excited to announce that our revolutionary new scheduling solution is now available!",
                "Plainer:\n\n> You can now plan a week of appointments on one page.\n\nIt says what the reader can do, "
                'and leaves out "excited", "revolutionary" and "solution".',
                rating="up",
            ),
            Turn(
                "Shorter, for the subject line.",
                "**Plan your week on one page**\n\n28 characters, so phones show all of it.",
            ),
        ),
        system_instruction="You edit texts. Answer with the better text first. No praise.",
        shared=True,
    ),
    Talk(
        "Sourdough that does not rise",
        120,
        (
            Turn(
                "My sourdough is flat. The starter doubles in 12 hours, the kitchen has 18 °C.",
                "The starter is slow: at 18 °C a lively one doubles in eight hours. Three things to try, one at a "
                "time:\n\n1. Feed it **twice a day** for three days, 1 : 2 : 2.\n2. Put the dough in the oven, only "
                "with the light on (about 25 °C).\n3. Wait for a rise of 60 to 70 %, not for a time.",
            ),
            Turn(
                "Write me a long schedule for the whole weekend with every minute.",
                "**Friday, 20:00** Feed the starter.\n\n**Saturday, 08:00** Feed it again. **08:15** Mix flour,",
                status="stopped",
            ),
        ),
    ),
    Talk(
        "Contrast of our brand colours",
        170,
        (
            Turn(
                "Is #F59E0B on white readable for body text?",
                "No. Its contrast on white is about **2.1 : 1**; body text needs 4.5 : 1.\n\n"
                "| Colour | On white | Body text |\n|---|---:|---|\n| `#F59E0B` | 2.1 : 1 | no |\n"
                "| `#B45309` | 5.0 : 1 | yes |\n| `#92400E` | 7.1 : 1 | yes |\n\n"
                "Keep the bright one for large shapes, and take `#B45309` for text.",
                rating="down",
                comment="We may not change the brand colours.",
            ),
        ),
        shared=True,
    ),
    Talk(
        "Names for the ginger cat",
        260,
        (
            Turn(
                "Ten names for a ginger cat, please. Nothing with food.",
                "Rusty, Ember, Copper, Sol, Amber, Fox, Blaze, Titian, Henna, Marigold",
                earlier=("Ginger, Pumpkin, Biscuit, Marmalade, Paprika", "Simba, Garfield, Tigger, Nemo, Leo"),
            ),
        ),
    ),
    Talk(
        "Letter to the landlord about the heating",
        500,
        (
            Turn(
                "Write a polite letter: the heating has failed three times this month.",
                "Dear Ms Petersen,\n\nthe heating in our flat has failed three times this month, on the 3rd, the 11th "
                "and the 19th, each time for more than a day. Please have it checked by the end of next week, and let "
                "us know the date.\n\nKind regards,\nAda Lindqvist",
            ),
        ),
        archived=True,
        tasks=(Task("Send the letter about the heating", completed=True, archived=True),),
    ),
    Talk(
        "Convert a spreadsheet to CSV",
        800,
        (
            Turn(
                "Shell one-liner to turn all semicolons in a CSV into commas?",
                "If no field contains either of them:\n\n```bash\ntr ';' ',' < in.csv > out.csv\n```\n\n"
                "Otherwise let a parser do it:\n\n"
                '```bash\npython3 -c "import csv, sys; csv.writer(sys.stdout).writerows(csv.reader(sys.stdin, '
                "delimiter=';'))\" < in.csv\n```",
            ),
        ),
        archived=True,
    ),
)
