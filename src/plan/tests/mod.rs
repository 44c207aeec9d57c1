//! Tests of the plan: tables of single decisions, then properties of all plans, then a simulated life.

mod build;
mod demand_build;
mod demand_dispatch;
mod demand_refusals;
mod demand_release;
mod properties;
mod reasons;
mod rehearsal;
mod simulation;
mod simulation_events;
mod simulation_world;
mod strays;
mod supply_capacity;
mod supply_days;
mod supply_deletion;
mod supply_life;
mod supply_modification;
mod supply_replacement;
mod supply_retention;
mod supply_schedule;
mod supply_snapshots;
mod supply_source;
mod words;
mod worlds;
