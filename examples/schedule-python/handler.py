"""Runs when its schedule says so; what it is given is the schedule's data."""


def handler(event, context):
    print(f"{event['name']}, it is {event['time']}: time for a break")
