//! One copy: equal to its source, at no harm, whatever interrupts it.

mod ahead;
mod batch;
mod history;
mod hostile;
mod kill;
mod newer;
mod planted;
mod refusals;
mod repair;
mod room;
mod scene;
mod shutdown;
mod trash;
