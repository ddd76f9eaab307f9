"""Prefect's side of the registry, in the order in which a nightly flow calls it.

```
champion_now(name) -> ChampionInfo | None
champion_predictions(champion, snapshot) -> Ref                  its gated fit, tonight's rows, in a clean process
log_night(night) -> LoggedNight                                  parent run, a child a candidate, the leading three
register_version(night, logged, entry) -> Registered             challenger, baseline or fallback: any number of times
promote(registered, entry, snapshot, rows) -> None               load afresh, compare, then move the alias
```
"""
