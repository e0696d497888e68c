package portal

// tokenSnippets returns sample code that signs a token, for an app with a signing key.
// They are those of docs/tokens.md.
func tokenSnippets() []Snippet {
	return []Snippet{
		{"token-node", "token in Node", nodeMint},
		{"token-php", "token in PHP", phpMint},
		{"token-laravel", "token in Laravel", laravelAuth},
		{"token-python", "token in Python", pythonMint},
		{"token-go", "token in Go", goMint},
	}
}

const nodeMint = `import jwt from "jsonwebtoken";

export function realtimeToken(user) {
  const claims = { sub: String(user.id), channels: [` + "`" + `private-user.${user.id}` + "`" + `], info: { name: user.name } };
  return jwt.sign(claims, process.env.REALTIME_SIGNING_KEY, { algorithm: "HS256", expiresIn: "1h" });
}`

const phpMint = `function realtimeToken(string $userId, string $name): string
{
    $base64url = fn (string $bytes): string => rtrim(strtr(base64_encode($bytes), '+/', '-_'), '=');
    $claims = ['sub' => $userId, 'iat' => time(), 'exp' => time() + 3600, 'channels' => ["private-user.$userId"], 'info' => ['name' => $name]];
    $parts = [['alg' => 'HS256', 'typ' => 'JWT'], $claims];
    $unsigned = implode('.', array_map(fn (array $part): string => $base64url(json_encode($part, JSON_THROW_ON_ERROR)), $parts));

    return "$unsigned.".$base64url(hash_hmac('sha256', $unsigned, getenv('REALTIME_SIGNING_KEY'), true));
}`

const laravelAuth = `// routes/channels.php, with the classes of examples/laravel
use Illuminate\Support\Facades\Broadcast;

Broadcast::channel('user.{id}', fn ($user, $id) => (string) $user->id === $id);`

const pythonMint = `import os
import time

import jwt


def realtime_token(user_id, name):
    now = int(time.time())
    claims = {
        "sub": str(user_id),
        "iat": now,
        "exp": now + 3600,
        "channels": [f"private-user.{user_id}"],
        "info": {"name": name},
    }
    return jwt.encode(claims, os.environ["REALTIME_SIGNING_KEY"], algorithm="HS256")`

const goMint = `import (
	"os"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

func RealtimeToken(userID, name string) (string, error) {
	now := time.Now()
	token := jwt.NewWithClaims(jwt.SigningMethodHS256, jwt.MapClaims{
		"sub":      userID,
		"iat":      now.Unix(),
		"exp":      now.Add(time.Hour).Unix(),
		"channels": []string{"private-user." + userID},
		"info":     map[string]string{"name": name},
	})
	return token.SignedString([]byte(os.Getenv("REALTIME_SIGNING_KEY")))
}`
