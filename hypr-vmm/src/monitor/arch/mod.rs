//! What only x86-64 has.

mod acpi;
mod boot;
mod cpu;
pub(crate) mod layout;

pub(crate) use self::{
    boot::{Payload, load, write_page_tables},
    cpu::{enter_long_mode, set_up, supported_cpuid},
};
