//! `workflows`: keeps and runs graphs.

use std::path::PathBuf;

use cendriix_protocol::{
    ids::WorkflowId,
    runs::Run,
    workflows::{Definition, Execute, Workflow, Workflows},
};
use clap::Subcommand;
use serde_json::Value;

use super::{
    Done, Failure, output,
    runs::{self, Watch},
    session::Session,
};

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Keep a workflow
    Create {
        /// A JSON file with name, nodes and edges
        file: PathBuf,
    },
    /// List workflows, newest first
    List {
        /// How many, 1 to 200
        #[arg(long, default_value_t = 50)]
        limit: u16,
    },
    /// Show a workflow
    Get {
        /// The workflow's id
        id: WorkflowId,
    },
    /// Run a workflow and watch it
    Execute {
        /// The workflow's id
        id: WorkflowId,
        /// What the nodes see as `inputs`, as JSON
        #[arg(long, default_value = "{}")]
        input: String,
        /// Do not watch: print the run and return
        #[arg(long)]
        detach: bool,
    },
}

pub(super) async fn run(command: Command, session: &Session, json: bool) -> Done {
    let client = &session.client;
    match command {
        Command::Create { file } => {
            let text = std::fs::read_to_string(&file);
            let text =
                text.map_err(|error| Failure::with(2, format!("cannot read {}: {error}", file.display())))?;
            let definition: Definition = serde_json::from_str(&text)
                .map_err(|error| Failure::with(2, format!("{} is no workflow: {error}", file.display())))?;
            let workflow: Workflow = client.post("/workflows", &definition, None).await?;
            print(&workflow, json)
        }
        Command::List { limit } => {
            let page: Workflows = client.get(&format!("/workflows?limit={limit}")).await?;
            if json {
                return runs::print_json(&page);
            }
            let rows = page.workflows.iter().map(|item| {
                vec![
                    item.id.to_string(),
                    format!("v{}", item.version),
                    format!("{} nodes", item.node_count),
                    output::plain(&item.name),
                ]
            });
            output::table(&["ID", "VERSION", "SIZE", "NAME"], &rows.collect::<Vec<_>>());
            Ok(0)
        }
        Command::Get { id } => print(&client.get::<Workflow>(&format!("/workflows/{id}")).await?, json),
        Command::Execute { id, input, detach } => {
            let input: Value = serde_json::from_str(&input)
                .map_err(|error| Failure::with(2, format!("--input is no JSON: {error}")))?;
            let run: Run = client
                .post("/workflows/execute", &Execute { workflow_id: id, input, repository: None }, None)
                .await?;
            if detach {
                runs::print(&runs::carried_on(session, run).await?, json)
            } else {
                runs::watch(session, run.id, Watch { after: 0, waits: true, json }).await
            }
        }
    }
}

fn print(workflow: &Workflow, json: bool) -> Done {
    if json {
        return runs::print_json(workflow);
    }
    output::line(&format!(
        "{}  v{}  {}",
        workflow.id,
        workflow.version,
        output::plain(&workflow.definition.name)
    ));
    for node in &workflow.definition.nodes {
        let before = workflow.definition.edges.iter().filter(|edge| edge.to == node.id);
        let after: Vec<&str> = before.map(|edge| edge.from.as_str()).collect();
        let after = if after.is_empty() { String::new() } else { format!("  after {}", after.join(", ")) };
        output::line(&format!("  {} ({}){after}", node.id, node.kind.name()));
    }
    Ok(0)
}
