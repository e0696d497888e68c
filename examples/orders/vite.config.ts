import react from "@vitejs/plugin-react";
import { defineConfig } from "vite";

// npm run build writes dist/, which Caddy serves.
export default defineConfig({ plugins: [react()] });
