//! Images come in: from OCI layouts, archives and registries, well-formed and hostile.

mod archives;
mod fake;
mod fixture;
mod layouts;
mod loads;
mod registries;
mod transfers;
