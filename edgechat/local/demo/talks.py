"""What the people of the demo talked about with the model."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Turn:
    """A question and its answer. `earlier`: the answer's former versions. `rating`: the user's feedback.

    `failure`: the code of the error that a failed reply was answered with.
    """

    question: str
    answer: str
    earlier: tuple[str, ...] = ()
    rating: str | None = None
    comment: str | None = None
    status: str = "complete"
    failure: str | None = None
    picture: bool = False


@dataclass(frozen=True)
class Task:
    """A todo that was found in the last answer of a conversation."""

    title: str
    description: str | None = None
    completed: bool = False
    archived: bool = False


@dataclass(frozen=True)
class Talk:
    """A conversation; `age`: hours since its last message. `shared`: with the owner's organization."""

    title: str
    age: float
    turns: tuple[Turn, ...]
    pinned: bool = False
    archived: bool = False
    shared: bool = False
    system_instruction: str | None = None
    tasks: tuple[Task, ...] = field(default=())


# Ada's, whose page a visitor sees first.
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

# Everybody else's: each person has some of them.
COMMON = (
    Talk(
        "Prime numbers up to 100",
        5,
        (
            Turn(
                "List the primes up to 100 with a sieve in JavaScript.",
                "```js\nfunction primes(limit) {\n  const composite = new Set();\n  const found = [];\n"
                "  for (let n = 2; n <= limit; n++) {\n    if (composite.has(n)) continue;\n    found.push(n);\n"
                "    for (let m = n * n; m <= limit; m += n) composite.add(m);\n  }\n  return found;\n}\n```\n\n"
                "`primes(100)` has 25 numbers, from 2 to 97.",
                rating="up",
            ),
        ),
    ),
    Talk(
        "Interview questions for a nurse",
        14,
        (
            Turn(
                "Five questions for an interview with a nurse for our ward.",
                "1. What did you change on your last ward, and what came of it?\n2. How do you hand over after a "
                "shift?\n3. Tell us of a day when there was too much to do. What did you leave?\n4. How do you tell a "
                "doctor that you disagree?\n5. What would you like to learn here?",
            ),
        ),
        shared=True,
    ),
    Talk(
        "Moving average in a spreadsheet",
        20,
        (
            Turn(
                "How do I get a moving average of 7 days in column C from values in column B?",
                "In `C8`, and then drag it down:\n\n```\n=AVERAGE(B2:B8)\n```\n\nThe first six rows stay empty: "
                "they have no seven days behind them.",
            ),
            Turn("And ignoring empty cells?", "`AVERAGE` already ignores empty cells. It does count a `0`."),
        ),
    ),
    Talk(
        "Blurb for a crime novel",
        33,
        (
            Turn(
                "Write a blurb of 60 words for a crime novel on a lighthouse island, without giving the end away.",
                "When the light goes out on Skerry Point, the keeper is found at the foot of the stairs, and the only "
                "boat is gone. Seven people are on the island. Inspector Maren Holt has three days until the storm "
                "passes, a log book with a missing page, and a witness who has not spoken for twelve years.",
                earlier=("A lighthouse. A dead keeper. Seven suspects. Who did it?",),
                rating="up",
            ),
        ),
        shared=True,
    ),
    Talk(
        "Explain p-values to my team",
        48,
        (
            Turn(
                "Explain p-values to people who never had statistics, in four sentences.",
                "Suppose that the change has *no* effect. A p-value says how often you would then still see a "
                "difference as large as yours, by chance alone. A small value means: chance is a poor explanation. It "
                "does **not** say how likely the effect is, nor how large.",
                rating="up",
            ),
        ),
        pinned=True,
    ),
    Talk(
        "Git: undo the last commit",
        61,
        (
            Turn(
                "How do I undo my last commit but keep the changes?",
                "```bash\ngit reset --soft HEAD~1\n```\n\nThe changes stay staged. If the commit is pushed, use "
                "`git revert HEAD` in its place, which adds a commit that undoes it.",
            ),
        ),
    ),
    Talk(
        "Stretching after long days at the desk",
        90,
        (
            Turn(
                "A stretching routine of five minutes for the back, without equipment?",
                "One minute each:\n\n1. Chin to chest, slowly left and right\n2. Arms up, lean to each side\n"
                "3. Hands behind the back, lift them\n4. Sit, and turn the upper body\n5. Stand, and roll down\n\n"
                "Stop if anything hurts, and ask a doctor if it stays.",
            ),
        ),
    ),
    Talk(
        "Regex for German postcodes",
        140,
        (
            Turn(
                "Regular expression for German postcodes?",
                "`^(?!00)\\d{5}$`\n\nFive digits; none begins with `00`. It does not know whether the postcode exists.",
                rating="down",
                comment="I also wanted the city.",
            ),
        ),
    ),
    Talk(
        "Energy use of the office",
        200,
        (
            Turn(
                "Our office used 1,240 kWh in September and 1,515 kWh in October. By how much did it rise?",
                "By **275 kWh**, which is 22.2 % (275 / 1240).",
            ),
        ),
        archived=True,
    ),
    Talk(
        "Dinner for eight, two of them vegan",
        310,
        (
            Turn(
                "Dinner for eight people, two vegan, one allergic to nuts. Three courses.",
                "- **Starter:** pumpkin soup with coconut milk\n- **Main:** baked aubergines with tomatoes and "
                "chickpeas, rice beside it\n- **Dessert:** poached pears with dark chocolate\n\nEverything is vegan "
                "and without nuts, so there is only one version to cook. Check the chocolate for traces.",
            ),
        ),
    ),
)

# Replies that went wrong, and answers that were not liked: each person has some of them.
TROUBLES = (
    Talk(
        "Minutes of the board meeting",
        11,
        (Turn("Write minutes from these notes, two pages please.", "", status="failed", failure="model_unavailable"),),
    ),
    Talk(
        "A table of all EU countries",
        40,
        (
            Turn(
                "A table of all EU countries with capital, area and population.",
                "| Country | Capital |\n|---|---|\n| Austria | Vienna |\n| Belgium | Brus",
                status="interrupted",
            ),
        ),
    ),
    Talk(
        "Cleaning products",
        66,
        (Turn("Which cleaning products make a poisonous gas together?", "", status="blocked"),),
    ),
    Talk(
        "Translation of the contract",
        95,
        (
            Turn(
                "Translate the second clause into Dutch, word by word.",
                "Artikel 2. De huurder betaalt de huur vooraf.",
                rating="down",
                comment="It left out the deposit.",
            ),
        ),
    ),
    Talk(
        "Forecast for the third quarter",
        160,
        (Turn("Continue the forecast with the numbers above.", "", status="failed", failure="model_quota"),),
    ),
    Talk(
        "Song lyrics",
        230,
        (Turn("Write down the whole text of that song.", "", status="blocked"),),
    ),
    Talk(
        "Train from Oslo to Bergen",
        330,
        (
            Turn(
                "When does the first train leave on Sundays?",
                "At 06:25, every day of the week.",
                rating="down",
                comment="Not on Sundays.",
            ),
        ),
    ),
)
