"""A prediction pipeline of three stages: shrink a picture, recognise a digit, put the answer together.

The stages are functions of their own, so each scales by itself; pictures and scores go from one to the next inside of
the server. Run it with a server up and its environment set: see README.md.
"""

from squall import Client

SIDE = 8
DIGITS = {
    "0": ["..####..", ".##..##.", ".##..##.", ".##..##.", ".##..##.", ".##..##.", ".##..##.", "..####.."],
    "1": ["...##...", "..###...", ".#.##...", "...##...", "...##...", "...##...", "...##...", ".######."],
    "7": [".######.", ".....##.", "....##..", "....##..", "...##...", "...##...", "..##....", "..##...."],
}


def shrink(picture):
    """Stage 1: a square picture of any size as SIDE x SIDE brightnesses."""
    step = len(picture) // SIDE
    mean = lambda row, column: sum(
        picture[row * step + y][column * step + x] for y in range(step) for x in range(step)
    ) / (step * step)
    return [mean(row, column) for row in range(SIDE) for column in range(SIDE)]


class Model:
    """Stage 2: how much a small picture is like each digit. The weights are made once per instance."""

    def __init__(self, digits):
        self.weights = {
            digit: [1.0 if dot == "#" else -1.0 for row in rows for dot in row] for digit, rows in digits.items()
        }

    def run(self, small):
        return {
            digit: sum(weight * (2 * brightness - 1) for weight, brightness in zip(weights, small)) / len(small)
            for digit, weights in self.weights.items()
        }


def combine(scores):
    """Stage 3: the best digit and how sure that is."""
    import math

    powers = {digit: math.exp(8 * score) for digit, score in scores.items()}
    best = max(powers, key=powers.get)
    return {"digit": best, "sure": round(powers[best] / sum(powers.values()), 3)}


def draw(digit, scale=4):
    """A picture of a digit, larger than the model's and with a dirty corner."""
    picture = [[float(dot == "#") for dot in row for _ in range(scale)]
               for row in DIGITS[digit] for _ in range(scale)]
    picture[0][0] = 0.7
    return picture


def main():
    c = Client()
    stages = [c.register(shrink, "pipeline-shrink"), c.register((Model, (DIGITS,)), "pipeline-model"),
              c.register(combine, "pipeline-combine")]
    predict = c.dag("pipeline", stages, [("pipeline-shrink", "pipeline-model"), ("pipeline-model", "pipeline-combine")])
    futures = {digit: predict(draw(digit)) for digit in DIGITS}
    for digit, future in futures.items():
        print("drew {}, saw {digit} ({sure:.0%} sure)".format(digit, **future.get(timeout=60)))


if __name__ == "__main__":
    main()
