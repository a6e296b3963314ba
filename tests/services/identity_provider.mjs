// An identity provider for the tests: npm's oidc-provider, with people and groups that tests set.
// usage: node identity_provider.mjs MODULES PORT REDIRECT_URI LOGOUT_URI
import { createRequire } from "node:module";
import { createServer } from "node:http";
import { pathToFileURL } from "node:url";

const [modules, port, redirectUri, logoutUri] = process.argv.slice(2);
const find = createRequire(`${modules}/`);
const { default: Provider } = await import(pathToFileURL(find.resolve("oidc-provider")));

// By their id: their groups. Who is not in it is gone.
const people = new Map();

const provider = new Provider(`http://127.0.0.1:${port}`, {
  clients: [
    {
      client_id: "taglock",
      client_secret: "a:secret/with%odd characters",
      redirect_uris: [redirectUri],
      grant_types: ["authorization_code", "refresh_token"],
      backchannel_logout_uri: logoutUri,
      backchannel_logout_session_required: true,
    },
  ],
  features: { backchannelLogout: { enabled: true } },
  claims: { openid: ["sub", "sid"], profile: ["preferred_username", "groups"] },
  pkce: { required: () => true },
  issueRefreshToken: async () => true,
  rotateRefreshToken: true,
  cookies: { keys: ["a key of the tests"] },
  // Its own way refuses addresses of this machine, and the tests have no others.
  fetch: (url, { dispatcher, ...options }) => fetch(url, options),
  async findAccount(_, id) {
    const groups = people.get(id);
    return groups && {
      accountId: id,
      claims: async () => ({ sub: id, preferred_username: id.split("|")[1], groups }),
    };
  },
});

provider.on("backchannel.error", (_, error) => console.error(error));

const answer = provider.callback();
createServer((request, response) => {
  // What tests say: PUT /people/<id>?group=…&group=…, or DELETE.
  const { pathname, searchParams } = new URL(request.url, "http://provider");
  if (!pathname.startsWith("/people/")) return answer(request, response);
  const id = decodeURIComponent(pathname.slice("/people/".length));
  if (request.method === "PUT") people.set(id, searchParams.getAll("group"));
  else people.delete(id);
  response.writeHead(204).end();
}).listen(Number(port), "127.0.0.1");
