//! Makes a component of a core module and the WIT that it was written against, as `wasm-tools component` does.
//!
//! Called by build.sh: `componentize hello.wit core.wasm hello.wasm`.

use anyhow::Context;
use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};
use wit_parser::Resolve;

fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [wit, core, component] = arguments.as_slice() else {
        anyhow::bail!("usage: componentize WIT CORE COMPONENT");
    };
    let mut resolve = Resolve::default();
    let (package, _) = resolve.push_path(wit)?;
    let world = resolve.select_world(&[package], None)?;
    let mut module = std::fs::read(core).with_context(|| format!("could not read `{core}`"))?;
    embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8)?;
    let encoded = ComponentEncoder::default().module(&module)?.validate(true).encode()?;
    std::fs::write(component, encoded).with_context(|| format!("could not write `{component}`"))
}
