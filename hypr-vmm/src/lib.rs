//! A minimal KVM virtual machine monitor for one-shot sandboxes.
