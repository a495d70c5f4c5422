"""Nivoda: a GraphQL API over HTTP, one account for natural and lab-grown stones."""
