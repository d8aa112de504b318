//! `rreg push DIR|ARCHIVE IMAGE`

use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;
use rreg_oci::Tag;
use rreg_runtime::image::LayoutReader;
use rreg_runtime::transfer::{Origin, Target};

use super::cp::Copying;
use crate::connect::Connect;
use crate::exit::{Exit, Failure};
use crate::named::ImageName;
use crate::output::Output;

#[derive(Args, Debug)]
pub(crate) struct Push {
    /// OCI image layout (directory or tar archive) or docker save archive
    #[arg(value_name = "DIR|ARCHIVE")]
    path: PathBuf,
    /// host[:port]/repository[:tag][@digest]; without tag and digest the tag is latest
    #[arg(value_name = "IMAGE")]
    image: ImageName,
    /// Which image of the layout, by its name there; needed when there are several
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    #[command(flatten)]
    copying: Copying,
    #[command(flatten)]
    connect: Connect,
}

impl Push {
    pub(crate) async fn run(&self, output: &Output) -> Result<Exit, Failure> {
        let layout = Arc::new(LayoutReader::open(&self.path).await?);
        // A layout that names the same tag means that one, unless told otherwise.
        let wanted = self.name.as_deref();
        let same = self.image.tag.as_ref().map(Tag::as_str).filter(|tag| layout.select(Some(tag)).is_ok());
        let chosen = layout.select(wanted.or(same))?.clone();
        let root = layout.manifest(&chosen).await?;
        let target = Target::Registry {
            client: self.connect.client(&self.image.host)?,
            repository: self.image.repository.clone(),
        };
        let from = self.path.display().to_string();
        self.copying.run(output, Origin::Layout(layout), target, root, (&from, &self.image)).await
    }
}
