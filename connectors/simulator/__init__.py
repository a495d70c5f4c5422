"""The vendor, simulated: Nivoda's GraphQL API with its habits, its faults and an inventory of up to 1.34 million stones.

It is the other side of the wire, so it shares no code with our reading of the vendor (`schemas/`, `connectors/feeds`).
"""
