//! The parts, one file each; see the crate's page.

mod image;
mod layer;
mod layout;
mod leaks;
mod mounted;
mod process;
mod program;
mod project;
mod registry;
mod server;
#[cfg(test)]
mod tests;
mod tree;
mod world;

pub use self::{
    image::Image,
    layer::Layer,
    layout::Layout,
    mounted::{Mounted, announce},
    process::{Finished, Run, Running},
    program::{bases, repository},
    project::Project,
    registry::Registry,
    server::{Request, Response, Server},
    tree::{Entry, Tree},
    world::World,
};

/// Whether the tests run as root, which decides whether the kernel can be asked to mount an image.
pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}
