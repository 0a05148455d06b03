//! The parser seen from outside: what texts become, what is said of bad ones, and that nothing makes it fall over.

mod errors;
mod forms;
mod harness;
mod limits;
mod properties;
mod syntax;

use crate::dockerfile;
