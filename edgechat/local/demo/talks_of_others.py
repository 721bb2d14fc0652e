"""What the other people of the demo talked about, and what went wrong."""

from __future__ import annotations

from edgechat.local.demo.talks import Talk, Turn

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
