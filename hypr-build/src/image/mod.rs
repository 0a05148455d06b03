//! Images: their names, configurations and manifests, and how they come in from outside.
//!
//! A [`Reference`] names an image, a [`Platform`] picks one of its variants, an [`ImageConfig`] is what the image says
//! about running it, and a [`Manifest`] is what hypr's own store keeps about an image in one JSON document.

mod config;
mod digest;
mod manifest;
mod platform;
mod reference;

pub use self::{
    config::{Healthcheck, History, ImageConfig, InvalidConfig, ProcessConfig, RootFs},
    digest::{InvalidSha256, Sha256Digest},
    manifest::{ImageLayer, LayerOrigin, Manifest, SquashfsFile},
    platform::{InvalidPlatform, Platform},
    reference::{InvalidReference, Reference},
};
