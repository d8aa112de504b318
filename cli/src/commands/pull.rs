//! `rreg pull IMAGE DIR|ARCHIVE.tar`

use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;
use rreg_oci::Tag;
use rreg_runtime::image::LayoutWriter;
use rreg_runtime::transfer::{Origin, Target};

use super::cp::{self, Copying};
use crate::connect::Connect;
use crate::exit::{Exit, Failure};
use crate::named::ImageName;
use crate::output::Output;

#[derive(Args, Debug)]
pub(crate) struct Pull {
    /// host[:port]/repository[:tag][@digest]
    #[arg(value_name = "IMAGE")]
    image: ImageName,
    /// Directory of an OCI image layout, new or to be added to; a path that ends in .tar becomes an archive
    #[arg(value_name = "DIR|ARCHIVE.tar")]
    path: PathBuf,
    #[command(flatten)]
    copying: Copying,
    #[command(flatten)]
    connect: Connect,
}

impl Pull {
    pub(crate) async fn run(&self, output: &Output) -> Result<Exit, Failure> {
        let client = self.connect.client(&self.image.host)?;
        let root = client.fetch_manifest(&self.image.repository, &self.image.reference()).await?;
        let layout = Arc::new(LayoutWriter::create(&self.path)?);
        let origin = Origin::Registry { client, repository: self.image.repository.clone() };
        let tags = match (&self.image.tag, &self.image.digest) {
            (Some(tag), _) => vec![tag.clone()],
            (None, Some(_)) => Vec::new(),
            (None, None) => vec![Tag::latest()],
        };
        let transfer = self.copying.transfer(output, origin, Target::Layout(layout), tags);
        let report = transfer.run(root).await?;
        cp::said(output, &self.image.to_string(), self.path.display().to_string(), &report)
    }
}
