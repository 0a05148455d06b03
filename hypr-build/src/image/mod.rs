//! Images: their names, configurations and manifests, and how they come in from outside.
//!
//! A [`Reference`] names an image, a [`Platform`] picks one of its variants, an [`ImageConfig`] is what the image says
//! about running it, and a [`Manifest`] is what hypr's own store keeps about an image in one JSON document.

mod base;
mod config;
pub(crate) mod decompress;
mod digest;
mod error;
mod load;
mod manifest;
mod merged;
mod platform;
mod pull;
mod reference;
mod source;

pub use self::{
    base::{base_image, from_manifest},
    config::{Healthcheck, History, ImageConfig, InvalidConfig, ProcessConfig, RootFs},
    decompress::GrowthLimit,
    digest::{InvalidSha256, Sha256Digest},
    error::ImageError,
    load::{LocalSource, load, open_local},
    manifest::{ImageLayer, LayerOrigin, Manifest, SquashfsFile},
    merged::{MergedImage, merge_image},
    platform::{InvalidPlatform, Platform},
    pull::{BaseImage, PullOptions, PullProgress, pull, pull_resolved},
    reference::{InvalidReference, Reference},
    source::{
        ArchiveSource, BlobReader, Credentials, Descriptor, DescriptorPlatform, Document, ImageSource, LayoutLocation,
        LayoutSource, RegistryClient, RegistrySource, ResolvedImage, ResolvedLayer,
    },
};
