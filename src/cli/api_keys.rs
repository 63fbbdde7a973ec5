//! `api-keys`: secrets with which programs act in a workspace.

use std::time::Duration;

use cendriix_actors::kit::Clock;
use cendriix_protocol::{
    api_keys::{ApiKey, ApiKeys, CreateApiKey, CreatedApiKey},
    ids::ApiKeyId,
    time::Timestamp,
    workspaces::Role,
};
use clap::Subcommand;

use super::{Done, output, runs::print_json, session::Session};

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Create a key; it is printed this once
    Create {
        /// The name to show, such as what will use it
        name: String,
        /// The most that it may do: viewer, member, admin or owner; member when absent
        #[arg(long, value_parser = role)]
        role: Option<Role>,
        /// How many days it is good for; without end when absent
        #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=36_500))]
        days: Option<u32>,
        /// When it ends, such as 2027-01-31T00:00:00Z
        #[arg(long, value_name = "INSTANT", conflicts_with = "days")]
        expires_at: Option<Timestamp>,
    },
    /// List keys, newest first; never the keys themselves
    List {
        /// How many, 1 to 200
        #[arg(long, default_value_t = 50)]
        limit: u16,
    },
    /// Revoke a key: whatever still uses it is refused from then on
    Revoke {
        /// The key's id
        id: ApiKeyId,
    },
}

fn role(text: &str) -> Result<Role, String> {
    let roles = [Role::Viewer, Role::Member, Role::Admin, Role::Owner];
    let role = roles.into_iter().find(|role| role.name() == text);
    role.ok_or_else(|| "it is one of viewer, member, admin and owner".to_owned())
}

pub(super) async fn run(command: Command, session: &Session, json: bool) -> Done {
    let client = &session.client;
    match command {
        Command::Create { name, role, days, expires_at } => {
            let day = Duration::from_hours(24);
            let end = days.map(|days| Clock::system().now().after(day * days)).or(expires_at);
            let body = CreateApiKey { name, expires_at: end, role };
            let created: CreatedApiKey = client.post("/api-keys", &body, None).await?;
            if json {
                return print_json(&created);
            }
            let key = &created.api_key;
            output::note(&format!(
                "Keep it now, it is not shown again. Its role is {}{}. Revoke it with `{}`.",
                key.role.name(),
                key.expires_at.map(|end| format!(", until {end}")).unwrap_or_default(),
                output::command(&format!("api-keys revoke {}", key.id)),
            ));
            output::line(&created.raw_key);
            Ok(0)
        }
        Command::List { limit } => {
            let page: ApiKeys = client.get(&format!("/api-keys?limit={limit}")).await?;
            if json {
                return print_json(&page);
            }
            let rows: Vec<Vec<String>> = page.api_keys.iter().map(row).collect();
            output::table(&["ID", "PREFIX", "ROLE", "LAST USED", "EXPIRES", "NAME"], &rows);
            Ok(0)
        }
        Command::Revoke { id } => {
            client.delete(&format!("/api-keys/{id}")).await?;
            if !json {
                output::line(&format!("revoked {id}"));
            }
            Ok(0)
        }
    }
}

fn row(key: &ApiKey) -> Vec<String> {
    let instant = |at: Option<Timestamp>, none: &str| at.map_or(none.to_owned(), |at| at.to_string());
    vec![
        key.id.to_string(),
        key.prefix.clone(),
        key.role.name().to_owned(),
        instant(key.last_used_at, "not yet"),
        instant(key.expires_at, "never"),
        output::plain_line(&key.name),
    ]
}
